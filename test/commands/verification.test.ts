/** What `tap --verify` takes for a fault, and what it does not. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { renderReport, Verification } from '../../src/commands/verification.ts'

const event = (type: string, epoch: number, seq: number, rest: string) =>
  new TextEncoder().encode(
    `{"v":1,"type":"${type}","exchange":"x","symbol":"A/B","epoch":${epoch},"seq":${seq},` +
      `"timestamp":null,"receivedUs":1,"publishedUs":2,${rest}}`,
  )
const snapshot = (epoch: number, seq: number) =>
  event('snapshot', epoch, seq, '"proof":"sequence","bids":[[1,1]],"asks":[[2,1]]')
const delta = (epoch: number, seq: number) => event('delta', epoch, seq, '"bids":[[1,2]],"asks":[]')
const takenBack = (epoch: number) => event('invalid', epoch, 0, '"reason":"disconnect"')

test('a successor that takes back what a dead worker left is no fault', () => {
  const verification = new Verification(new Map([['A/B', 0]]), 0)
  const outcomes = [
    snapshot(5, 0),
    delta(5, 1),
    takenBack(6),
    // Of the dead one, stored late.
    delta(5, 2),
    takenBack(6),
  ].map((value) => verification.receive('A/B', value, 0, 10))
  assert.deepEqual(outcomes, ['snapshot', 'delta', 'invalid', 'zombie', 'invalid'])
  const meanwhile = verification.report(1000, 2)
  assert.equal(meanwhile.symbols[0].state, 'invalid')
  assert.deepEqual(meanwhile.failures, [])
  for (const value of [snapshot(7, 0), delta(7, 1)]) verification.receive('A/B', value, 0, 10)
  const { ok, symbols: [row] } = verification.report(1000, 2)
  assert.equal(ok, true)
  assert.deepEqual([row.state, row.epoch, row.seq, row.invalids, row.gaps], ['live', 7, 1, 2, 0])
})

test('it shows how old the news of a book are, also of one that heartbeats alone tell of', () => {
  const verification = new Verification(new Map([['A/B', 0]]), 0)
  const news = (): number | undefined => verification.report(1000, 7_500_001).symbols[0].newsSeconds
  assert.equal(news(), undefined)
  verification.receive('A/B', snapshot(5, 0), 0, 10)
  assert.equal(news(), 7.5)
  const heartbeat = event('heartbeat', 5, 0, '"state":"live","lastUs":5000001')
  verification.receive('A/B', heartbeat, 0, 10)
  assert.equal(news(), 2.5)
  assert.match(renderReport(verification.report(1000, 7_500_001)), /NEWS.*\n.* 2\.5 s /)
  verification.receive('A/B', takenBack(6), 0, 10)
  assert.equal(news(), undefined, 'a new epoch has none yet')
})
