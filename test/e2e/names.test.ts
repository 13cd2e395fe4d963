/** A coin with a Chinese name, from each exchange to the event, the metrics and the record's key. */
import assert from 'node:assert/strict'
import process from 'node:process'
import { after, test } from 'node:test'
import { adapters } from '../../src/exchanges/index.ts'
import { startSimulator } from '../../src/simulator/server.ts'
import { startKafka } from '../support/kafka.ts'
import { freePort, get, inTemporaryFolder, ready, start, writeMap } from '../support/program.ts'

const COIN = '币安人生'
const PAIRS: Readonly<Record<string, string>> = {
  binance: 'USDT',
  binanceusdm: 'USDT:USDT',
  bitfinex: 'USD',
  bitmex: 'USDT:USDT',
  bybit: 'USDT',
  coinbase: 'USD',
  coinbaseexchange: 'USD',
  kraken: 'USD',
  okx: 'USDT',
}

const kafka = await startKafka()
after(() => kafka.stop())

test('every exchange has its pair here', () => {
  assert.deepEqual(Object.keys(PAIRS).sort(), Object.keys(adapters).sort())
})

for (const [exchange, quote] of Object.entries(PAIRS)) {
  test(`${exchange}: ${COIN}/${quote} in the topic, its key and the metrics`, {
    timeout: 120_000,
  }, () =>
    inTemporaryFolder(async (folder) => {
      const symbol = `${COIN}/${quote}`
      const simulator = await startSimulator({ exchange, symbols: [symbol], rate: 50, levels: 20 })
      const topic = `names-${process.pid}-${exchange}`
      const map = writeMap(folder, { [symbol]: 0 })
      const http = `127.0.0.1:${await freePort()}`
      const base = ['--exchange', exchange, '--map', map, '--brokers', kafka.brokers]
      const program = start([
        ...[...base, '--topic', topic, '--http', http, '--workers', '1', '--pin', 'off'],
        ...['--ws-url', simulator.wsUrl, '--rest-url', simulator.restUrl],
      ])
      try {
        await ready(http, program, 60_000)
        const { body } = await get(`http://${http}/metrics`)
        assert.ok(body.includes(`obfeed_book_live{exchange="${exchange}",symbol="${symbol}"} 1\n`))
        const status = JSON.parse((await get(`http://${http}/status`)).body)
        assert.equal(status.workers[0].books[0].symbol, symbol)
        // It looks records up by their keys.
        const tap = start(['tap', ...base, '--topic', topic, '--limit', '20', '--symbol', symbol])
        assert.equal(await tap.exited, 0, tap.stderr())
        const events = tap.stdout().trimEnd().split('\n').map((line) => JSON.parse(line))
        assert.equal(events.length, 20)
        assert.equal(events[0].type, 'snapshot')
        assert.ok(events.every((event) => event.symbol === symbol))
      } finally {
        await program.stop()
        await simulator.close()
      }
      assert.equal(await program.exited, 0, program.stderr())
      assert.doesNotMatch(program.stderr(), /ERROR|silent/)
    }))
}
