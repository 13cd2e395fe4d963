/** What a user keeps in an address is his: no command shows it, whatever fails. */
import assert from 'node:assert/strict'
import { createServer, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import { writeFileSync } from 'node:fs'
import { join, resolve } from 'node:path'
import process from 'node:process'
import { describe, test } from 'node:test'
import { startSimulator } from '../../src/simulator/server.ts'
import { freePort, get, inTemporaryFolder, start, writeMap } from '../support/program.ts'
import { until } from '../support/until.ts'

const MAIN = resolve(import.meta.dirname!, '../../src/main.ts')
const BINARY = process.env['OBFEED_TEST_BINARY']
const COMMAND = BINARY === undefined ? [process.execPath, MAIN] : [BINARY]
/** As they are, and as a URL writes them. */
const SECRETS = ['hunter2', 't0psecret', 'pr0xy', 'br0ker', 'qu3ry']
const SYMBOLS = ['BTC/USD']

function obfeed(args: readonly string[], environment: Readonly<Record<string, string>> = {}) {
  const before = { ...process.env }
  Object.assign(process.env, environment)
  try {
    return start([...COMMAND.slice(1), ...args], COMMAND[0])
  } finally {
    for (const name of Object.keys(environment)) {
      if (before[name] === undefined) delete process.env[name]
      else process.env[name] = before[name]
    }
  }
}

function assertKept(text: string, what: string): void {
  for (const secret of SECRETS) {
    assert.equal(text.includes(secret), false, `${secret} in what ${what} shows:\n${text}`)
  }
}

/** Answers everything with 401 and repeats what it was asked, credentials included. */
async function refusing(body: (port: number) => Promise<void>): Promise<void> {
  const server: Server = createServer((request, response) => {
    const { host, authorization } = request.headers
    response.writeHead(401, `no ws://user:hunter2@${host}`)
    response.end(`go away http://user:t0psecret@${host}${request.url} ${authorization ?? ''}`)
  })
  await new Promise<void>((done) => server.listen(0, '127.0.0.1', done))
  try {
    await body((server.address() as AddressInfo).port)
  } finally {
    server.closeAllConnections()
    server.close()
  }
}

describe('credentials in addresses', () => {
  test(
    'of what cannot be read, or cannot be reached',
    { timeout: 120_000 },
    () =>
      inTemporaryFolder(async (folder) => {
        const map = writeMap(folder, { 'BTC/USD': 0 })
        const closed = await freePort()
        const file = join(folder, 'obfeed.json')
        writeFileSync(file, '{"brokers": ["user:br0ker@host:9092"], "wsUrl": "ws:/u:hunter2@h"}')
        const base = ['--exchange', 'coinbase', '--map', map, '--http', 'off']
        const rest = ['--rest-url', `http://user:t0p%73ecret@127.0.0.1:${closed}/x?key=qu3ry`]
        const cases:
          readonly (readonly [readonly string[], Readonly<Record<string, string>>, number])[] = [
            [['validate', ...base, '--offline', '--brokers', 'user:br0ker@host:9092'], {}, 64],
            [['validate', ...base, '--offline', '--ws-url', 'wss://h/?key=qu3ry'], {}, 64],
            [['validate', ...base, '--offline', '--ws-url', 'wss//u:hunter2@h'], {}, 64],
            [['validate', ...base, '--offline', '--ws-url', 'wss://u:hun/hunter2@h:x'], {}, 64],
            [['validate', ...base, '--offline', '--config', file], {}, 78],
            [['validate', ...base, ...rest], {}, 64],
            [['run', ...base, '--rest-url', `http://user:t0psecret@127.0.0.1:${closed}`], {}, 69],
            [['run', ...base, '--rest-url', `http://t0psecret@127.0.0.1:${closed}`], {}, 69],
            [['plan', ...base, '--rest-url', `http://t0p@hunter2@127.0.0.1:${closed}`], {}, 69],
            [
              ['validate', ...base, '--rest-url', 'https://user:t0psecret@exchange.invalid'],
              { HTTPS_PROXY: `http://me:pr0xy@127.0.0.1:${closed}` },
              69,
            ],
          ]
        await Promise.all(cases.map(async ([args, environment, code]) => {
          const program = obfeed(args, environment)
          assert.equal(await program.exited, code, `${args.join(' ')}\n${program.stderr()}`)
          assertKept(program.stdout() + program.stderr(), args.join(' '))
        }))
      }),
  )

  test('in the effective settings', { timeout: 30_000 }, () =>
    inTemporaryFolder(async (folder) => {
      const map = writeMap(folder, { 'BTC/USD': 0 })
      for (const json of [[], ['--json']]) {
        const program = obfeed([
          ...['validate', '--offline', '--print-effective', '--exchange', 'coinbase', '--map', map],
          ...['--ws-url', 'wss://user:hunter2@host/path', '--rest-url', 'https://t0psecret@host'],
          ...json,
        ])
        assert.equal(await program.exited, 0, program.stderr())
        assert.match(program.stdout(), /wss:\/\/\*\*\*@host\/path/)
        assert.match(program.stdout(), /https:\/\/\*\*\*@host/)
        assertKept(program.stdout() + program.stderr(), 'validate')
      }
    }))

  for (const format of ['text', 'json']) {
    test(
      `in the ${format} log, /status, /readyz and /metrics of an agent that cannot connect`,
      { timeout: 60_000 },
      () =>
        inTemporaryFolder(async (folder) => {
          const simulator = await startSimulator({ symbols: SYMBOLS, rate: 10, levels: 5, seed: 1 })
          try {
            await refusing(async (port) => {
              const map = writeMap(folder, { 'BTC/USD': 0 })
              const http = `127.0.0.1:${await freePort()}`
              const withUser = (url: string) => url.replace('://', '://user:t0psecret@')
              const program = obfeed([
                ...['--exchange', 'coinbase', '--map', map, '--sink', 'stdout', '--http', http],
                ...['--ws-url', `ws://user:hunter2@127.0.0.1:${port}`, '--log-format', format],
                ...['--rest-url', withUser(simulator.restUrl), '--log-level', 'trace'],
              ], { HTTPS_PROXY: 'http://me:pr0xy@127.0.0.1:1' })
              try {
                await until(
                  () => `the refusal is told of\n${program.stderr()}`,
                  30_000,
                  () => /refused/.test(program.stderr()),
                )
                const shown = await Promise.all(
                  ['status', 'readyz', 'readyz?verbose', 'metrics'].map(async (path) =>
                    (await get(`http://${http}/${path}`)).body
                  ),
                )
                assert.ok(shown.every((text) => text !== ''))
                assertKept(shown.join('\n'), 'the status server')
              } finally {
                await program.stop()
              }
              assertKept(program.stdout() + program.stderr(), 'run')
            })
          } finally {
            await simulator.close()
          }
        }),
    )
  }
})
