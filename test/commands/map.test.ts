/** `obfeed map`, and the maps that come with the project, against simulated exchanges. */
import { after, before, describe, test } from 'node:test'
import assert from 'node:assert/strict'
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import process from 'node:process'
import { adapters } from '../../src/exchanges/index.ts'
import { type Simulator, startSimulator } from '../../src/simulator/server.ts'
import { start } from '../support/program.ts'

const ROOT = resolve(import.meta.dirname!, '../..')
const BINARY = process.env['OBFEED_TEST_BINARY']
const PROGRAM = BINARY === undefined
  ? [join(ROOT, 'node_modules/.bin/bun'), join(ROOT, 'src/main.ts')]
  : [BINARY]

async function obfeed(...args: readonly string[]) {
  const program = start([...PROGRAM.slice(1), ...args], PROGRAM[0])
  const code = await program.exited
  return { code, stdout: program.stdout(), stderr: program.stderr() }
}

describe('map', () => {
  const symbols = ['BTC/USD', 'ETH/USD', 'SOL/USD', 'XRP/USD', 'BTC/EUR', 'ETH/EUR', 'ETH/BTC']
  let folder = ''
  let simulator: Simulator
  before(async () => {
    folder = mkdtempSync(join(tmpdir(), 'obfeed-map-'))
    simulator = await startSimulator({
      exchange: 'kraken',
      symbols,
      rate: 0,
      levels: 20,
      // Nobody runs it ten times within seconds.
      limits: { weight: { count: 1000, perMs: 1000 } },
    })
  })
  after(async () => {
    await simulator.close()
    rmSync(folder, { recursive: true, force: true })
  })

  const path = () => join(folder, 'kraken_config.json')
  const read = (file = path()) => JSON.parse(readFileSync(file, 'utf8'))
  const map = (...args: readonly string[]) =>
    obfeed('map', '--exchange', 'kraken', '--map', path(), '--rest-url', simulator.restUrl, ...args)

  test('writes the busiest of a currency; run again, nothing moves and new ones come behind', async () => {
    const dry = await map('--quote', 'USD', '--top', '2', '--dry-run')
    assert.deepEqual([dry.code, dry.stderr, existsSync(path())], [0, '', false])
    const first = await map('--quote', 'USD', '--top', '2')
    assert.deepEqual([first.code, first.stderr], [0, ''])
    assert.match(first.stdout, /: 2 symbols on 2 partitions, 2 new, 0 delisted\n$/)
    const two = read()
    assert.deepEqual(Object.values(two), [0, 1])
    assert.ok(Object.keys(two).every((symbol) => symbol.endsWith('/USD')))

    const second = await map('--json')
    const report = JSON.parse(second.stdout)
    assert.deepEqual([report.symbols, report.partitions, report.delisted], [7, 7, {}])
    const all = read()
    for (const [symbol, partition] of Object.entries(two)) assert.equal(all[symbol], partition)
    assert.deepEqual(Object.keys(all).sort(), [...symbols].sort())

    const third = await map('--json')
    assert.deepEqual(JSON.parse(third.stdout).added, [])
    assert.deepEqual(read(), all)
  })

  test('a delisted symbol leaves and its partition stays empty, until --reuse', async () => {
    const before = read()
    simulator.exchange.delist('SOL/USD', Date.now())
    const { stdout, code } = await map()
    assert.equal(code, 0)
    assert.match(stdout, /^delisted: SOL\/USD, removed; its partition \d+ stays empty/)
    const { 'SOL/USD': freed, ...others } = before
    assert.deepEqual(read(), others)
    const retired = path().replace('.json', '.retired.json')
    assert.deepEqual(read(retired), { 'SOL/USD': freed })
  })

  test('where one of the two files cannot be written, neither is', async () => {
    // Long enough that only the name of the second is too long.
    const long = join(folder, `${'m'.repeat(237)}.json`)
    writeFileSync(long, '{"BTC/USD": 0, "GONE/USD": 1, "ETH/USD": 2}')
    const { code, stderr } = await obfeed(
      ...['map', '--exchange', 'kraken', '--map', long, '--rest-url', simulator.restUrl],
    )
    assert.equal(code, 73, stderr)
    assert.deepEqual(read(long), { 'BTC/USD': 0, 'GONE/USD': 1, 'ETH/USD': 2 })
    assert.deepEqual(readdirSync(folder).filter((name) => name.endsWith('.tmp')), [])
  })

  test('what cannot be asked for is refused', async () => {
    const quote = await map('--quote', 'DOLLARS')
    assert.equal(quote.code, 64)
    assert.match(quote.stderr, /--quote has "DOLLARS", expected currencies.*BTC, EUR, USD/)
    const type = await map('--type', 'future', '--map', join(folder, 'none.json'))
    assert.equal(type.code, 64, 'given twice')
    const nowhere = await obfeed(
      ...['map', '--exchange', 'kraken', '--rest-url', simulator.restUrl],
      ...['--map', join(folder, 'no', 'such', 'map.json')],
    )
    assert.equal(nowhere.code, 73)
    assert.match(nowhere.stderr, /cannot write .*choose another file with --map/)
  })
})

test('map: a market that is in the map under its other name is not taken a second time', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'obfeed-map-'))
  const simulator = await startSimulator({
    exchange: 'coinbase',
    symbols: ['BTC/USD', 'ETH/USD'],
    rate: 0,
    levels: 10,
  })
  try {
    const path = join(folder, 'map.json')
    writeFileSync(path, '{"BTC/USDC": 3}')
    const where = ['--exchange', 'coinbase', '--map', path, '--rest-url', simulator.restUrl]
    const { code, stderr } = await obfeed('map', ...where)
    assert.deepEqual([code, stderr], [0, ''])
    assert.deepEqual(JSON.parse(readFileSync(path, 'utf8')), { 'BTC/USDC': 3, 'ETH/USD': 0 })
  } finally {
    await simulator.close()
    rmSync(folder, { recursive: true, force: true })
  }
})

describe('the maps that come with the project', () => {
  for (const exchange of Object.keys(adapters)) {
    test(`${exchange}: 50 symbols that its markets have, one partition each`, async () => {
      const file = join(ROOT, 'config', `${exchange}_config.json`)
      const entries = Object.entries(
        JSON.parse(readFileSync(file, 'utf8')) as Record<string, number>,
      )
      assert.deepEqual(entries.map(([, partition]) => partition), [...entries.keys()])
      assert.equal(entries.length, 50)
      const symbols = entries.map(([symbol]) => symbol)
      const simulator = await startSimulator({ exchange, symbols, rate: 0, levels: 10 })
      try {
        const { code, stdout, stderr } = await obfeed(
          ...['validate', '--exchange', exchange, '--map', file],
          ...['--rest-url', simulator.restUrl, '--ws-url', simulator.wsUrl],
        )
        assert.deepEqual([code, stderr], [0, ''])
        assert.match(stdout, /^valid: .* 50 symbols, all traded on \w+\n$/)
      } finally {
        await simulator.close()
      }
    })
  }

  test('a closed exchange is served from another address only', async () => {
    const file = join(ROOT, 'config', 'bitmex_config.json')
    const { code, stderr } = await obfeed('--exchange', 'bitmex', '--map', file)
    assert.equal(code, 69)
    assert.match(stderr, /^obfeed: BitMEX closed on 2026-09-23; .*--ws-url/)
  })

  test('a former id is understood, with a note', async () => {
    const file = join(ROOT, 'config', 'okx_config.json')
    const { code, stderr, stdout } = await obfeed(
      ...['plan', '--exchange', 'okex', '--map', file, '--offline', '--workers', '2'],
    )
    assert.equal(code, 0)
    assert.match(stderr, /the exchange "okex" is called okx today/)
    assert.match(stderr, /1000 levels a side are wanted, okx can serve 400 at most/)
    assert.match(stdout, /^okx: 50 symbols, 2 workers, topic okx-orderbook/)
  })
})

describe('list', () => {
  test('names what is proven of each exchange, and why some are not served', async () => {
    const { stdout, code } = await obfeed('list', 'exchanges')
    assert.equal(code, 0)
    const lines = stdout.split('\n')
    assert.match(
      lines[0]!,
      /^exchange +engine +loss proof +scope +depth +symbols\/socket +snapshot/,
    )
    assert.match(stdout, /^coinbase +native +sequence +connection +full +20 +in band$/m)
    assert.match(stdout, /^binance +native +sequence +symbol +4000 +\d+ +REST$/m)
    assert.match(stdout, /^bitmex +native +none .*closed on 2026-09-23; only with --ws-url$/m)
    assert.match(stdout, /^gate +ccxt +none /m)
    assert.match(stdout, /^alpaca +ccxt .*not served: .*API keys/m)
    const { exchanges } = JSON.parse((await obfeed('list', 'exchanges', '--json')).stdout)
    assert.ok(exchanges.length > 70)
    const ids = exchanges.map(({ exchange }: { exchange: string }) => exchange)
    assert.equal(new Set(ids).size, ids.length)
  })
})
