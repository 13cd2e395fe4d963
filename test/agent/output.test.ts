/** What a reader of stdout gets: whole lines, whatever dies, and the word that it is over. */
import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { resolve } from 'node:path'
import process from 'node:process'
import { test } from 'node:test'
import type { FromWorker, ToWorker } from '../../src/agent/messages.ts'
import { formatWorkerArguments } from '../../src/agent/worker-arguments.ts'
import type { Settings } from '../../src/config/settings.ts'
import { startSimulator } from '../../src/simulator/server.ts'
import {
  childrenOf,
  freePort,
  get,
  inTemporaryFolder,
  ready,
  start,
  writeMap,
} from '../support/program.ts'
import { until } from '../support/until.ts'
import { planOf } from './fixtures.ts'

const MAIN = resolve(import.meta.dirname!, '../../src/main.ts')
const BINARY = process.env['OBFEED_TEST_BINARY']
/** The compiled binary when there is one to test, the source otherwise. */
const COMMAND = BINARY === undefined ? [process.execPath, MAIN] : [BINARY]
/** Lines far longer than what a pipe takes whole or not at all, and few others. */
const MARKET = { symbols: ['BTC/USD', 'ETH/USD'], rate: 20, levels: 1000, seed: 7 }

async function stdoutMetric(http: string, name: string): Promise<number> {
  const { body } = await get(`http://${http}/metrics`)
  const value = new RegExp(`^obfeed_stdout_${name}_total\\{[^}]*\\} (\\S+)$`, 'm').exec(body)?.[1]
  return Number(value ?? NaN)
}

test(
  'the only worker, killed within a line, leaves no half of it before its successor',
  { timeout: 60_000 },
  async () => {
    const simulator = await startSimulator(MARKET)
    try {
      await inTemporaryFolder(async (folder) => {
        const map = writeMap(folder, { 'BTC/USD': 0, 'ETH/USD': 1 })
        const http = `127.0.0.1:${await freePort()}`
        const program = start([
          ...COMMAND.slice(1),
          ...['--exchange', 'coinbase', '--map', map, '--sink', 'stdout', '--http', http],
          ...['--ws-url', simulator.wsUrl, '--rest-url', simulator.restUrl],
          ...['--workers', '1', '--snapshot-interval', '1'],
        ], COMMAND[0])
        const { stdout } = program.child
        try {
          await ready(http, program)
          stdout!.pause()
          // The reader does not read: every pipe on the way fills up to some place in a line.
          let written = -1
          await until('full pipes', 20_000, async () => {
            const before = written
            written = await stdoutMetric(http, 'bytes')
            await new Promise((done) => setTimeout(done, 1500))
            return written === before
          })
          const [victim] = childrenOf(program.pid, 'obfeed-w')
          process.kill(victim, 'SIGKILL')
          await until('a new worker', 10_000, () => {
            const pids = childrenOf(program.pid, 'obfeed-w')
            return pids.length === 1 && !pids.includes(victim)
          })
          const text = program.stdout().length
          stdout!.resume()
          const taken = (): number =>
            program.stdout().slice(text).split('"reason":"disconnect"').length - 1
          await until('its successor', 20_000, () => taken() >= 1)
          await ready(http, program)
          const end = program.stdout().lastIndexOf('\n')
          for (const line of program.stdout().slice(0, end).split('\n')) {
            assert.doesNotThrow(() => JSON.parse(line), `${line.length} bytes: ${line}`)
          }
        } finally {
          await program.stop('SIGKILL')
        }
      })
    } finally {
      await simulator.close()
    }
  },
)

test('a worker without its parent says shutdown, and is gone within 3 s', {
  timeout: 60_000,
}, async () => {
  const simulator = await startSimulator(MARKET)
  // This process is the parent, and the reader as well.
  const child = spawn(COMMAND[0], [
    ...COMMAND.slice(1),
    ...formatWorkerArguments({ id: 0, exchange: 'coinbase', engine: 'auto', sink: 'stdout' }),
  ], { stdio: ['ignore', 'pipe', 'ignore', 'ipc'], serialization: 'json' })
  try {
    let text = ''
    let closed = false
    child.stdout!.on('data', (bytes: Uint8Array) => (text += new TextDecoder().decode(bytes)))
    child.on('close', () => closed = true)
    const messages: FromWorker[] = []
    child.on('message', (message) => messages.push(message as FromWorker))
    await until('a greeting', 20_000, () => messages.some(({ type }) => type === 'hello'))
    const plan: ToWorker = {
      type: 'plan',
      producer: 'host/1/0.1.0',
      settings: {
        exchange: 'coinbase',
        sink: 'stdout',
        depth: 5,
        publish: 'delta',
        snapshotIntervalMs: 10_000,
        wsUrl: simulator.wsUrl,
        logLevel: 'error',
        logFormat: 'text',
      } as Settings,
      plan: planOf(0, ...MARKET.symbols),
      epochFloor: 0,
    }
    child.send(plan)
    const said = (word: string): string[] =>
      text.slice(0, text.lastIndexOf('\n') + 1).split('\n').filter((line) => line.includes(word))
        .map((line) => JSON.parse(line).symbol).sort()
    await until('its books', 20_000, () => new Set(said('"type":"snapshot"')).size === 2)
    const begun = performance.now()
    child.disconnect()
    await until('its end', 5000, () => closed)
    assert.ok(performance.now() - begun < 3000)
    assert.deepEqual(said('"reason":"shutdown"'), MARKET.symbols)
  } finally {
    child.kill('SIGKILL')
    await simulator.close()
  }
})
