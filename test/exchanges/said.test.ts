/** Words of an exchange: shown short, searched whole. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { Said, saidBy, shown } from '../../src/exchanges/said.ts'

const named = (
  text: string,
  ...names: string[]
) => [...new Said(text).named(new Map(names.map((name, i) => [name, i])))]

test('parts that are there, as they are or as JSON', () => {
  assert.equal(`${saidBy('no', undefined, 7, { a: 1 })}`, 'no: 7: {"a":1}')
  assert.equal(shown('a\u2028b'), 'a\\u2028b')
  assert.equal(shown('x'.repeat(1e6)).length, 501)
})

test('names are found in the order of the text, each once', () => {
  assert.deepEqual(named('C-D, A-B and X-Y, not C-D', 'A-B', 'C-D'), [1, 0])
  assert.deepEqual(named("Wrong channel:books,instId:BTC-USDT doesn't exist.", 'BTC-USDT'), [0])
  assert.deepEqual(named('topic:[orderbook.50.BTCUSDT] not found', 'BTCUSDT'), [0])
  assert.deepEqual(named('orderBookL2:XBTUSD', 'XBTUSD'), [0])
  assert.deepEqual(named('Currency pair not supported XBT/USD.', 'XBT/USD'), [0])
  assert.deepEqual(named('Invalid: btcusdt@depth@100ms', 'btcusdt@depth@100ms'), [0])
  assert.deepEqual(named('unknown 币安人生/USDT，ŁBC-USDT!', '币安人生/USDT', 'ŁBC-USDT'), [0, 1])
})

test('a name within a longer word is not named', () => {
  for (const text of ['BTC-USDT-SWAP', 'WBTC-USDT', 'ŁBTC-USDT', '币BTC-USDT', 'BTC-USDT_2']) {
    assert.deepEqual(named(text, 'BTC-USDT'), [], text)
  }
  assert.deepEqual(named('A/B/C', 'A/B/C', 'B'), [0], 'the longest counts')
})

test('a name behind much else is found, and one behind 64 KiB is not looked for', () => {
  assert.deepEqual(named(`${'A-'.repeat(30_000)} BTC-USDT`, 'BTC-USDT'), [0])
  assert.deepEqual(named(`${'A-'.repeat(40_000)} BTC-USDT`, 'BTC-USDT'), [])
})

test('a value that is no text is JSON, and ends', () => {
  const value = { a: [1, null, true, { b: 'c"\n' }], d: [], e: {} }
  assert.equal(shown(value), JSON.stringify(value))
  const begun = performance.now()
  assert.equal(shown(JSON.parse('['.repeat(9000) + ']'.repeat(9000))), '[[[[[[[[[…]]]]]]]]]')
  assert.equal(shown(Array.from({ length: 1e6 }, () => 'x')).length, 501)
  assert.ok(performance.now() - begun < 1000)
  assert.equal(shown(undefined), '')
})
