/** The compiled agent on one simulated exchange by both engines: both must end in its book. */
import { test } from 'node:test'
import assert from 'node:assert/strict'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Replica } from '../../src/core/replica.ts'
import { startSimulator } from '../../src/simulator/server.ts'
import { start } from '../support/program.ts'
import { until } from '../support/until.ts'

/** Exchange and symbols; ccxt holds every book of these whole. */
const CASES: readonly (readonly [exchange: string, symbols: readonly string[]])[] = [
  ['kraken', ['BTC/USD', 'ETH/USD']],
  ['bybit', ['BTC/USDT', 'ETH/USDT', 'BTC/USDT:USDT']],
]

for (const [exchange, symbols] of CASES) {
  test(
    `${exchange}: native and through ccxt the books are the same`,
    { timeout: 60_000 },
    async () => {
      const folder = mkdtempSync(join(tmpdir(), 'obfeed-engines-'))
      const map = join(folder, 'map.json')
      writeFileSync(
        map,
        JSON.stringify(Object.fromEntries(symbols.map((symbol, i) => [symbol, i]))),
      )
      const simulator = await startSimulator({ exchange, symbols, rate: 200, levels: 60 })
      const agents = ['native', 'ccxt'].map((engine) =>
        start([
          ...['--exchange', exchange, '--engine', engine, '--map', map, '--sink', 'stdout'],
          ...['--workers', '1', '--pin', 'off', '--http', 'off', '--log-level', 'warn'],
          ...['--ws-url', simulator.wsUrl, '--rest-url', simulator.restUrl],
        ])
      )
      try {
        const read = (): Map<string, Replica>[] =>
          agents.map((agent) => {
            const replicas = new Map(symbols.map((symbol) => [symbol, new Replica(symbol)]))
            for (const line of agent.stdout().split('\n').slice(0, -1)) {
              const { symbol } = JSON.parse(line) as { symbol: string }
              replicas.get(symbol)!.receive(line)
            }
            return replicas
          })
        const everyOne = (holds: (replica: Replica, symbol: string) => boolean): boolean =>
          read().every((replicas) => [...replicas].every(([symbol, one]) => holds(one, symbol)))
        await until('every book has moved', 30_000, () => everyOne(({ seq }) => seq > 20))
        simulator.pause()
        const isTrue = (replica: Replica, symbol: string): boolean => {
          const truth = simulator.truth(symbol)!
          return replica.valid &&
            JSON.stringify([replica.bids(), replica.asks()]) ===
              JSON.stringify([truth.bids, truth.asks])
        }
        await until('every book is the true one', 15_000, () => everyOne(isTrue))
        assert.equal(simulator.stats().violations, 0)
      } finally {
        await Promise.all(agents.map((agent) => agent.stop()))
        await simulator.close()
        rmSync(folder, { recursive: true, force: true })
      }
    },
  )
}
