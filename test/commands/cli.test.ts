/** The program as a user meets it: processes, streams and exit codes; compiled where a binary is given. */
import { after, before, describe, test } from 'node:test'
import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:http'
import type { Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import process from 'node:process'
import { EXIT_TEXT } from '../../src/core/errors.ts'

const ROOT = resolve(import.meta.dirname!, '../..')
const BINARY = process.env['OBFEED_TEST_BINARY']
const PROGRAM = BINARY === undefined
  ? [join(ROOT, 'node_modules/.bin/bun'), join(ROOT, 'src/main.ts')]
  : [BINARY]

interface Outcome {
  readonly stdout: string
  readonly stderr: string
  readonly code: number | null
}

function obfeed(
  args: readonly string[],
  env: Readonly<Record<string, string>> = {},
): Promise<Outcome> {
  const child = spawn(PROGRAM[0]!, [...PROGRAM.slice(1), ...args], {
    cwd: folder,
    env: { PATH: process.env['PATH'] ?? '', ...env },
    stdio: ['ignore', 'pipe', 'pipe'],
    timeout: 30_000,
  })
  let stdout = ''
  let stderr = ''
  child.stdout.setEncoding('utf8').on('data', (text: string) => (stdout += text))
  child.stderr.setEncoding('utf8').on('data', (text: string) => (stderr += text))
  return new Promise((done) => child.on('close', (code) => done({ stdout, stderr, code })))
}

const COMMANDS = ['run', 'plan', 'validate', 'map', 'list', 'tap', 'simulate', 'bench', 'version']

let folder = ''
let server: Server
let restUrl = ''

function product(id: string, more: Record<string, unknown> = {}): Record<string, unknown> {
  const [base, quote] = id.split('-')
  return {
    product_id: id,
    base_increment: '0.00000001',
    price_increment: '0.01',
    product_type: 'SPOT',
    base_currency_id: base,
    quote_currency_id: quote,
    alias: '',
    alias_to: [],
    ...more,
  }
}

before(async () => {
  folder = mkdtempSync(join(tmpdir(), 'obfeed-cli-'))
  const write = (name: string, content: unknown): void =>
    writeFileSync(join(folder, name), JSON.stringify(content))
  write('map.json', { 'BTC/USD': 0, 'ETH/USD': 1, 'ETH/EUR': 1 })
  write('unknown.json', { 'BTC/USX': 0, 'ETH-USD': 1 })
  write('alias.json', { 'BTC/USD': 0, 'BTC/USDC': 1 })
  write('obfeed.json', { exchange: 'coinbase', map: 'map.json', depth: 50 })
  const products = [
    product('BTC-USD', { alias_to: ['BTC-USDC'] }),
    product('BTC-USDC', { alias: 'BTC-USD' }),
    product('ETH-USD'),
    product('ETH-EUR'),
  ]
  server = createServer((_, response) => {
    response.setHeader('content-type', 'application/json')
    response.end(JSON.stringify({ products }))
  })
  await new Promise<void>((done) => server.listen(0, '127.0.0.1', done))
  restUrl = `http://127.0.0.1:${(server.address() as AddressInfo).port}`
})
after(() => {
  server.closeAllConnections()
  server.close()
  rmSync(folder, { recursive: true, force: true })
})

describe('help', () => {
  test('of the root lists commands, flags with twins and defaults, and every exit code', async () => {
    const { stdout, stderr, code } = await obfeed(['--help'])
    assert.deepEqual([code, stderr], [0, ''])
    for (const command of COMMANDS) assert.match(stdout, new RegExp(`^  ${command} +\\S`, 'm'))
    assert.match(
      stdout,
      /--snapshot-interval SECONDS {2}.*\[default 30,\s+OBFEED_SNAPSHOT_INTERVAL\]/,
    )
    assert.match(stdout, /OBFEED_KAFKA_PASSWORD_FILE/)
    assert.match(stdout, /^ {2}obfeed --exchange coinbase --map coinbase_config\.json$/m)
    for (const [exit, text] of Object.entries(EXIT_TEXT)) {
      assert.ok(stdout.includes(`  ${exit.padEnd(3)}  ${text}`), `exit code ${exit}`)
    }
    assert.ok(!stdout.includes('\x1b'), 'no colour on a pipe')
    assert.ok(!stdout.includes('__worker'))
    const tooWide = stdout.split('\n').filter((line) => line.length > 100)
    assert.deepEqual(tooWide, [])
  })

  for (const command of COMMANDS) {
    test(`of ${command} has usage, an example and exit codes`, async () => {
      const { stdout, stderr, code } = await obfeed([command, '-h', '--nonsense'])
      assert.deepEqual([code, stderr], [0, ''])
      assert.ok(stdout.includes(`\n\nUsage: obfeed ${command} [flags]`), stdout)
      assert.match(stdout, /\n\nFlags:\n {2}-/)
      assert.match(stdout, /\n\nExamples:\n {2}obfeed /)
      assert.match(stdout, /\n\nExit codes:\n {2}0 +done/)
      assert.match(stdout, /\n {2}73 +an output cannot be written/)
    })
  }
})

describe('usage', () => {
  const cases: readonly [words: string[], message: RegExp][] = [
    [['paln'], /^obfeed: unknown command "paln"; did you mean plan\?\n$/],
    [['constructor'], /^obfeed: unknown command "constructor"; `obfeed --help` lists them\n$/],
    [['--exchnage', 'coinbase'], /^obfeed: unknown flag --exchnage; did you mean --exchange\?\n$/],
    [['--depth', '5', 'plan'], /^obfeed: the command "plan" stands after flags.*`obfeed plan/],
    [['plan', '--map'], /^obfeed: --map has no value, expected --map FILE\n$/],
    [['plan', '--map='], /^obfeed: --map was empty/],
    [['plan', '--exchange', 'coinbase', '--map', 'map.json', '--depth', 'x'], /--depth was "x"/],
    [['plan', '--map', 'map.json'], /^obfeed: --exchange is missing, expected an exchange id/],
    [['plan', '--exchange', 'coinbsae', '--map', 'map.json'], /did you mean coinbase\?/],
    [['version', 'now'], /^obfeed: "now" was not expected after `obfeed version`; remove it\n$/],
    [['list'], /^obfeed: <what> is missing, expected `obfeed list <what>`\n$/],
    [['list', 'books'], /^obfeed: what to list was "books", expected exchanges\n$/],
    [
      ['plan', '--exchange', 'alpaca', '--map', 'map.json'],
      /^obfeed: exchange was "alpaca", which cannot be served: .*API keys/,
    ],
    [
      ['plan', '--exchange', 'gate', '--map', 'map.json', '--engine', 'native'],
      /^obfeed: exchange was "gate", expected one of binance, /,
    ],
    [['map', '--exchange', 'coinbase', '--top', '0'], /--top was "0", expected an integer from 1/],
    [['simulate'], /^obfeed: <exchange> is missing, expected `obfeed simulate <exchange>`\n$/],
    [[], /^obfeed: --exchange is missing/],
  ]
  for (const [words, message] of cases) {
    test(`\`obfeed ${words.join(' ')}\` is refused, exit 64`, async () => {
      const { stdout, stderr, code } = await obfeed(words)
      assert.equal(code, 64, stderr)
      assert.equal(stdout, '')
      assert.match(stderr, message)
    })
  }
})

describe('version', () => {
  test('is one line, however it is asked for', async () => {
    const outcomes = await Promise.all([['version'], ['--version'], ['-v']].map((a) => obfeed(a)))
    for (const { stdout, code } of outcomes) {
      assert.equal(code, 0)
      assert.match(stdout, /^obfeed \d+\.\d+\.\d+ \(linux-\w+, commit \S+, built \S+\)\n$/)
    }
  })

  test('--json says what is inside, and the same build has the same identity', async () => {
    const [first, second] = await Promise.all([
      obfeed(['version', '--json']),
      obfeed(['version', '--json']),
    ])
    const info = JSON.parse(first!.stdout)
    assert.equal(info.ccxt, '4.5.84')
    assert.equal(info.kafkajs, '2.2.4')
    assert.match(info.ws, /^8\.\d+\.\d+$/)
    assert.equal(info.wireFormat, 1)
    assert.ok(info.buildId.length > 3)
    assert.equal(first!.stdout, second!.stdout)
  })
})

describe('plan', () => {
  const base = ['plan', '--exchange', 'coinbase', '--map', 'map.json']

  test('prints worker, CPU, connection, symbols, partitions, and what is shared', async () => {
    const { stdout, code } = await obfeed([
      ...[...base, '--rest-url', restUrl, '--workers', '2', '--pin', 'off'],
    ])
    assert.equal(code, 0)
    assert.deepEqual(stdout.split('\n').map((line) => line.replaceAll(/ +/g, ' ')), [
      'coinbase: 3 symbols, 2 workers, topic coinbase-orderbook, 2 partitions',
      'WORKER CPU CONNECTION SYMBOL -> PARTITION',
      '0 - 0 BTC/USD -> 0, ETH/EUR -> 1',
      '1 - 0 ETH/USD -> 1',
      'partition 1 is shared by ETH/USD, ETH/EUR',
      '',
    ])
  })

  test('--json is one object', async () => {
    const { stdout } = await obfeed([...base, '--rest-url', restUrl, '--workers', '1', '--json'])
    const plan = JSON.parse(stdout)
    assert.deepEqual([plan.exchange, plan.topic, plan.partitions], [
      'coinbase',
      'coinbase-orderbook',
      2,
    ])
    const [worker] = plan.workers
    assert.equal(worker.budgetShare, 1)
    assert.deepEqual(worker.connections.flat()[0], {
      symbol: 'BTC/USD',
      wireSymbol: 'BTC-USD',
      priceDecimals: 2,
      sizeDecimals: 8,
      partition: 0,
    })
    assert.deepEqual(plan.shared, [{ partition: 1, symbols: ['ETH/USD', 'ETH/EUR'] }])
  })

  test('reports every unknown symbol with the nearest ones, exit 78', async () => {
    const { stderr, code } = await obfeed(
      ['plan', '--exchange', 'coinbase', '--map', 'unknown.json', '--rest-url', restUrl],
    )
    assert.equal(code, 78)
    assert.match(
      stderr,
      /unknown\.json:1:2: "BTC\/USX" is no market of coinbase; nearest: BTC\/USD/,
    )
    assert.match(stderr, /unknown\.json:1:14: "ETH-USD" is no market .*nearest: ETH\/USD/)
  })

  test('reports two spellings of one market, exit 78', async () => {
    const { stderr, code } = await obfeed(
      ['plan', '--exchange', 'coinbase', '--map', 'alias.json', '--rest-url', restUrl],
    )
    assert.equal(code, 78)
    assert.match(stderr, /"BTC\/USDC" is the same market as "BTC\/USD" in line 1/)
  })

  test('ends with 69 when the exchange is not there', async () => {
    const { stderr, code } = await obfeed([...base, '--rest-url', 'http://127.0.0.1:1'])
    assert.equal(code, 69)
    assert.match(stderr, /^obfeed: market metadata of coinbase from http:\/\/127\.0\.0\.1:1\/api/)
  })

  test('ends with 66 when the map is not there', async () => {
    const { stderr, code } = await obfeed(
      ['plan', '--exchange', 'coinbase', '--map', 'no.json', '--offline'],
    )
    assert.equal(code, 66)
    assert.match(stderr, /^obfeed: no\.json: no such file, expected a partition map/)
  })
})

describe('validate', () => {
  test('takes everything from variables', async () => {
    const { stdout, code } = await obfeed(['validate'], {
      OBFEED_EXCHANGE: 'coinbase',
      OBFEED_MAP: 'map.json',
      OBFEED_REST_URL: restUrl,
      OBFEED_DETPH: '1',
    })
    assert.equal(code, 0)
    assert.deepEqual(stdout.trim().split('\n'), [
      'warning: OBFEED_DETPH is set but no setting has this name; did you mean OBFEED_DEPTH?',
      'note: partition 1 is shared by ETH/USD, ETH/EUR',
      'valid: map.json, 3 symbols, all traded on coinbase',
    ])
  })

  test('--print-effective shows value and origin of each, never a secret', async () => {
    const { stdout, code } = await obfeed(
      ['validate', '--config', 'obfeed.json', '--offline', '--print-effective', '--workers', '3'],
      {
        OBFEED_KAFKA_USERNAME: 'me',
        OBFEED_KAFKA_PASSWORD: 's3cret',
        OBFEED_KAFKA_MECHANISM: 'scram-sha-512',
      },
    )
    assert.equal(code, 0)
    const rows = new Map(
      stdout.split('\n').map((line): [string, string] => {
        const [setting, ...rest] = line.split(/ {2,}/)
        return [setting!, rest.join(' | ')]
      }),
    )
    assert.equal(rows.get('workers'), '3 | flag')
    assert.equal(rows.get('kafkaUsername'), 'me | env')
    assert.equal(rows.get('kafkaPassword'), '*** | env')
    assert.equal(rows.get('depth'), '50 | file')
    assert.equal(rows.get('publish'), 'delta | default')
    assert.ok(!stdout.includes('s3cret'))
  })

  test('reads no obfeed.json that was not named', async () => {
    const { code, stderr } = await obfeed(['validate', '--offline'])
    assert.equal(code, 64)
    assert.match(stderr, /--exchange is missing/)
  })

  test('the examples of config/ are valid', async () => {
    const { stdout, stderr, code } = await obfeed(
      ['validate', '--config', join(ROOT, 'config/obfeed.json'), '--offline', '--json'],
    )
    assert.equal(code, 0, stderr)
    assert.deepEqual(JSON.parse(stdout).warnings, [])
  })
})

describe('streams', () => {
  test('a reader that leaves early is no error', async () => {
    const command = `${PROGRAM.map((word) => `'${word}'`).join(' ')} --help | head -n 1`
    const child = spawn('bash', ['-c', `set -o pipefail; ${command}`], {
      stdio: ['ignore', 'pipe', 'pipe'],
    })
    let stderr = ''
    child.stderr.setEncoding('utf8').on('data', (text: string) => (stderr += text))
    child.stdout.resume()
    const code = await new Promise((done) => child.on('close', done))
    assert.deepEqual([code, stderr], [0, ''])
  })

  test('a full disk: one line, exit 73', async () => {
    writeFileSync(join(folder, 'one.json'), '{"BTC/USD": 0}')
    const map = ['--exchange', 'coinbase', '--map', 'one.json', '--offline']
    const commands = [
      ...[['version'], ['list', 'exchanges'], ['--help'], ['run', '--help'], ['plan', '--help']],
      ...[['plan', ...map], ['validate', ...map], ['validate', ...map, '--json']],
      ['simulate', 'coinbase', '--port', '0'],
    ]
    for (const args of commands) {
      const child = spawn('sh', ['-c', 'exec "$@" >/dev/full', 'sh', ...PROGRAM, ...args], {
        cwd: folder,
        stdio: ['ignore', 'ignore', 'pipe'],
        timeout: 30_000,
      })
      let stderr = ''
      child.stderr.setEncoding('utf8').on('data', (text: string) => (stderr += text))
      const code = await new Promise((done) => child.on('close', done))
      assert.equal(code, 73, `${args.join(' ')}: ${stderr}`)
      assert.match(stderr, /^obfeed: stdout cannot be written \(ENOSPC.*room\n$/, args.join(' '))
    }
  })

  test('stderr on a full disk changes no exit code', async () => {
    const child = spawn('sh', ['-c', 'exec "$@" 2>/dev/full', 'sh', ...PROGRAM, 'plam'], {
      stdio: 'ignore',
    })
    assert.equal(await new Promise((done) => child.on('close', done)), 64)
  })

  test('a big answer on a slow pipe is whole', async () => {
    const symbols = Object.fromEntries(
      Array.from({ length: 5000 }, (_, i) => [`COIN${i}/USD`, i]),
    )
    writeFileSync(join(folder, 'big.json'), JSON.stringify(symbols))
    const { stdout, code } = await obfeed(
      ['plan', '--exchange', 'coinbase', '--map', 'big.json', '--offline', '--json'],
    )
    assert.equal(code, 0)
    assert.ok(stdout.length > 400_000)
    assert.equal(JSON.parse(stdout).partitions, 5000)
  })
})
