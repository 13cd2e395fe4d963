/** Every native exchange as a user runs it: the compiled agent, a simulated exchange, a lost frame. */
import { test } from 'node:test'
import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { Replica } from '../../src/core/replica.ts'
import { depthOf } from '../../src/exchanges/adapter.ts'
import { adapters } from '../../src/exchanges/index.ts'
import { startSimulator } from '../../src/simulator/server.ts'
import { inTemporaryFolder, start, writeMap } from '../support/program.ts'
import { until } from '../support/until.ts'

const ROOT = resolve(import.meta.dirname!, '../..')
/** So many levels every exchange that proves anything proves: Kraken's checksum covers ten. */
const DEPTH = 10

for (const [exchange, adapter] of Object.entries(adapters)) {
  test(
    `${exchange}: books are the exchange's, before and after a loss`,
    { timeout: 90_000 },
    () =>
      inTemporaryFolder(async (folder) => {
        const file = join(ROOT, 'config', `${exchange}_config.json`)
        const all = JSON.parse(readFileSync(file, 'utf8')) as Record<string, number>
        const symbols = Object.keys(all).slice(0, 6)
        const simulator = await startSimulator({ exchange, symbols, rate: 150, levels: 80 })
        const agent = start([
          ...['--exchange', exchange, '--sink', 'stdout', '--depth', `${DEPTH}`],
          ...[
            '--map',
            writeMap(folder, Object.fromEntries(symbols.map((symbol, i) => [symbol, i]))),
          ],
          ...['--workers', '2', '--pin', 'off', '--http', 'off', '--log-level', 'warn'],
          ...['--ws-url', simulator.wsUrl, '--rest-url', simulator.restUrl],
        ])
        try {
          const books = new Map(symbols.map((symbol) => [symbol, new Replica(symbol)]))
          let read = 0
          const refresh = (): Replica[] => {
            const lines = agent.stdout().split('\n').slice(0, -1)
            for (; read < lines.length; read++) {
              const { symbol } = JSON.parse(lines[read]!) as { symbol: string }
              const outcome = books.get(symbol)!.receive(lines[read]!)
              assert.ok(outcome !== 'mismatch' && outcome !== 'gap', `${symbol}: ${outcome}`)
            }
            return [...books.values()]
          }
          const { view } = depthOf(adapter, DEPTH)
          const isTrue = (): boolean =>
            refresh().every((book, i) => {
              const truth = simulator.truth(symbols[i]!, view)!
              return book.valid &&
                JSON.stringify([book.bids(), book.asks()]) ===
                  JSON.stringify([truth.bids, truth.asks])
            })
          const allMoved = () => refresh().every(({ valid, seq }) => valid && seq > 5)
          await until('every book has moved', 30_000, allMoved)
          simulator.pause()
          await until('every book is the true one', 10_000, isTrue)
          simulator.resume()
          const epochs = refresh().map(({ epoch }) => epoch)
          const connection = simulator.stats().connections[0]!.id
          simulator.control({ kind: 'disconnect', connection })
          if (adapter.protocol.loss !== 'none') simulator.control({ kind: 'drop', count: 1 })
          const isNew = () => refresh().some(({ valid, epoch }, i) => valid && epoch > epochs[i]!)
          await until('a new run has begun', 30_000, isNew)
          await until(
            'every book is valid again',
            30_000,
            () => refresh().every((one) => one.valid),
          )
          if (adapter.protocol.loss !== 'none') {
            await until('a frame is lost', 10_000, () => simulator.stats().faultHits.drop === 1)
          }
          // What was lost last shows in what comes next.
          const places = refresh().map(({ epoch, seq }) => ({ epoch, seq }))
          await until('every book has moved on', 30_000, () =>
            refresh().every(({ valid, epoch, seq }, i) =>
              valid && seq > 3 && (epoch > places[i]!.epoch || seq > places[i]!.seq + 3)
            ))
          simulator.pause()
          await until('every book is the true one again', 15_000, isTrue)
          assert.deepEqual(simulator.stats().broken, [])
        } finally {
          await agent.stop()
          await simulator.close()
        }
      }),
  )
}
