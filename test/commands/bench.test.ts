/** What is measured is the real work: the frames are sound, and the pipe's books and events are right. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { makeFrames } from '../../src/commands/bench-frames.ts'
import { LANE, nowUs, Pipe } from '../../src/commands/bench-pipe.ts'
import { ASK, BID } from '../../src/core/changes.ts'
import { coinbase } from '../../src/exchanges/coinbase.ts'

const workload = { seed: 3, product: 'BTC-USD', levels: 2000, frames: 800, updatesMax: 9 }
const instrument = { symbol: 'BTC/USD', wireSymbol: 'BTC-USD', priceDecimals: 2, sizeDecimals: 8 }
const DEPTH = 100

interface Frame {
  readonly sequence_num: number
  readonly events: readonly [{
    readonly type: string
    readonly updates: readonly { side: string; price_level: string; new_quantity: string }[]
  }]
}

function parse(frame: Uint8Array): Frame {
  return JSON.parse(new TextDecoder().decode(frame))
}

test('the same seed gives the same bytes, another one others', () => {
  const text = (seed: number) => {
    const { snapshot, updates } = makeFrames({ ...workload, seed })
    return [snapshot, ...updates].map((frame) => new TextDecoder().decode(frame)).join('\n')
  }
  assert.equal(text(3), text(3))
  assert.notEqual(text(3), text(4))
})

test('the frames are contiguous, and the book keeps its size', () => {
  const { snapshot, updates, levelUpdates } = makeFrames(workload)
  const frames = [snapshot, ...updates].map(parse)
  frames.forEach((frame, i) => assert.equal(frame.sequence_num, i))
  assert.equal(frames[0].events[0].type, 'snapshot')
  assert.equal(frames[0].events[0].updates.length, 2 * workload.levels)
  const changes = frames.slice(1).flatMap((frame) => frame.events[0].updates)
  assert.equal(changes.length, levelUpdates)
  const deletes = changes.filter((change) => change.new_quantity === '0').length
  assert.ok(deletes > levelUpdates * 0.3 && deletes < levelUpdates * 0.45, `${deletes} deletes`)
})

test("the pipe's book equals the frames, and its events lead to its view", () => {
  const { snapshot, updates } = makeFrames(workload)
  const pipe = new Pipe(coinbase, [instrument], DEPTH, LANE)
  const naive = { bid: new Map<string, string>(), offer: new Map<string, string>() }
  const view = { bids: new Map<number, number>(), asks: new Map<number, number>() }
  let read = 0
  for (const frame of [snapshot, ...updates]) {
    for (const { side, price_level, new_quantity } of parse(frame).events[0].updates) {
      const levels = naive[side as 'bid' | 'offer']
      if (new_quantity === '0') levels.delete(price_level)
      else levels.set(price_level, new_quantity)
    }
    pipe.session.received(frame, nowUs())
    if (pipe.bytes === read) continue
    const event = JSON.parse(new TextDecoder().decode(pipe.lane.subarray(read, pipe.bytes)))
    read = pipe.bytes
    for (const side of ['bids', 'asks'] as const) {
      for (const [price, size] of event[side]) {
        if (size === 0) view[side].delete(price)
        else view[side].set(price, size)
      }
    }
  }
  assert.equal(pipe.session.stats.scannerFallbacks, 0)
  assert.ok(pipe.events > updates.length / 2)
  const best = (levels: Map<string, string>, sign: number) =>
    [...levels].sort(([a], [b]) => sign * (Number(b) - Number(a)))
  const bids = best(naive.bid, 1)
  const asks = best(naive.offer, -1)
  assert.deepEqual(pipe.books[0].levels(BID), bids)
  assert.deepEqual(pipe.books[0].levels(ASK), asks)
  const top = (levels: [string, string][]) =>
    levels.slice(0, DEPTH).map(([price, size]) => [Number(price), Number(size)])
  assert.deepEqual([...view.bids].sort(([a], [b]) => b - a), top(bids))
  assert.deepEqual([...view.asks].sort(([a], [b]) => a - b), top(asks))
})
