/** The book and its top-N view against a naive model, over millions of updates. */
import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { Book } from '../../src/core/book.ts'
import { ASK, BID, LevelChanges } from '../../src/core/changes.ts'
import { scaledToText } from '../../src/core/decimal.ts'
import { Consumer, type NaiveSide, numberSides, pushScaled, seeded, type Which } from './model.ts'

interface Shape {
  readonly seed: number
  readonly depth: number
  /** Levels a side to begin with. */
  readonly levels: number
  readonly updates: number
  /** Updates a frame: uniform from 1 to this. */
  readonly frameMax: number
  /** Mean distance of an update from the best price, in ticks. */
  readonly spread: number
  /** Ticks the middle moves per frame at most. */
  readonly drift: number
  /** Share of updates far away from the rest. */
  readonly outliers: number
  /** Frames between two that empty a side; 0 = never. */
  readonly emptyEvery: number
  /** Frames between two loads in mid run; 0 = never. */
  readonly loadEvery: number
  /** Frames between two comparisons of everything. */
  readonly auditEvery: number
}

const usual: Shape = {
  seed: 1,
  depth: 1000,
  levels: 2000,
  updates: 300_000,
  frameMax: 4,
  spread: 50,
  drift: 1,
  outliers: 0.01,
  emptyEvery: 0,
  loadEvery: 0,
  auditEvery: 5000,
}

const PRICE_DECIMALS = 2
const SIZE_DECIMALS = 8

/** Runs one shape; returns the updates applied. */
function run(shape: Shape): number {
  const random = seeded(shape.seed)
  const book = new Book(PRICE_DECIMALS, SIZE_DECIMALS, shape.depth)
  const naive = numberSides()
  const changes = new LevelChanges(64)
  const consumer = new Consumer(book)
  let middle = 5_000_000

  const push = (side: Which, price: number, size: number) => {
    pushScaled(changes, side, price, size)
    naive[side].set(price, size)
  }
  const away = (side: Which, ticks: number) =>
    side === BID ? Math.max(1, middle - 1 - ticks) : middle + 1 + ticks
  const load = () => {
    changes.reset()
    for (const side of [BID, ASK] as const) {
      naive[side].clear()
      for (let i = 0; i < shape.levels; i++) {
        // Runs of ticks, some of them twice, some of them with size 0, in no order at all.
        const size = random() < 0.01 ? 0 : 1 + Math.floor(random() * 1e9)
        push(side, away(side, Math.floor(random() * shape.levels * 1.5)), size)
      }
    }
    book.load(changes)
    assert.ok(book.difference.isEmpty)
    consumer.load()
  }
  load()

  let applied = 0
  for (let frame = 1; applied < shape.updates; frame++) {
    changes.reset()
    middle += Math.round((random() * 2 - 1) * shape.drift)
    if (shape.loadEvery > 0 && frame % shape.loadEvery === 0) load()
    changes.reset()
    const emptied = shape.emptyEvery > 0 && frame % shape.emptyEvery === 0
    if (emptied) {
      const side: Which = random() < 0.5 ? BID : ASK
      for (const price of [...naive[side].prices]) push(side, price, 0)
    }
    const count = 1 + Math.floor(random() * shape.frameMax)
    for (let i = 0; i < count; i++) {
      const side: Which = random() < 0.5 ? BID : ASK
      const levels = naive[side]
      const kind = random()
      const ticks = Math.floor(-Math.log(1 - random()) * shape.spread)
      const size = 1 + Math.floor(random() * 1e9)
      if (kind < shape.outliers) push(side, away(side, Math.floor(random() * 4e6)), size)
      else if (kind < 0.33 || levels.prices.length === 0) push(side, away(side, ticks), size)
      else {
        const price = levels.prices[Math.min(levels.prices.length - 1, ticks)]
        if (kind < 0.63) push(side, price, size)
        else if (kind < 0.93) push(side, price, 0)
        // Orphan deletes, or real ones: both are normal.
        else push(side, away(side, ticks), 0)
      }
    }
    applied += changes.count
    book.apply(changes)
    consumer.apply()
    for (const side of [BID, ASK] as const) {
      assert.equal(
        consumer.sides[side].size,
        Math.min(shape.depth, naive[side].prices.length),
        `frame ${frame}: levels in the view`,
      )
    }
    const [bids, asks] = naive
    const crossed = bids.prices.length > 0 && asks.prices.length > 0 &&
      bids.prices[0] >= asks.prices[0]
    assert.equal(book.isCrossed(), crossed)
    assert.equal(book.bidCount, bids.prices.length)
    assert.equal(book.askCount, asks.prices.length)
    if (frame % shape.auditEvery === 0 || emptied) audit(frame)
  }
  audit(-1)
  return applied

  function audit(frame: number): void {
    for (const side of [BID, ASK] as const) {
      const whole = texts(naive[side], Infinity)
      assert.deepEqual(book.levels(side), whole, `frame ${frame}: the whole book`)
      assert.deepEqual(
        consumer.top(side),
        whole.slice(0, shape.depth === Infinity ? undefined : shape.depth),
        `frame ${frame}: the consumer's view`,
      )
    }
  }
}

function texts(side: NaiveSide<number>, count: number): [string, string][] {
  return side.top(count).map(([price, size]) => [
    scaledToText(price, PRICE_DECIMALS),
    scaledToText(size, SIZE_DECIMALS),
  ])
}

describe('the book and its view equal a naive model', () => {
  const shapes: [string, Partial<Shape>][] = [
    ['depth 1000, small frames', {}],
    ['depth 1000, 100 updates a frame', { frameMax: 200, auditEvery: 500 }],
    ['depth 1000, 2000 updates a frame', { frameMax: 4000, spread: 800, auditEvery: 20 }],
    ['depth 1', { depth: 1, levels: 300, auditEvery: 1000 }],
    ['depth 1, checked after every frame', {
      depth: 1,
      levels: 20,
      spread: 5,
      updates: 60_000,
      auditEvery: 1,
    }],
    ['depth 10, checked after every frame', {
      depth: 10,
      levels: 40,
      spread: 10,
      updates: 60_000,
      auditEvery: 1,
    }],
    ['full depth', { depth: Infinity, levels: 4000, auditEvery: 20_000 }],
    ['full depth, large frames', { depth: Infinity, frameMax: 300, auditEvery: 500 }],
    ['a drifting middle', { drift: 60, depth: 100, auditEvery: 5000 }],
    ['far outliers', { outliers: 0.3, depth: 500, auditEvery: 5000 }],
    ['sides emptied again and again', {
      depth: 50,
      levels: 120,
      emptyEvery: 40,
      updates: 200_000,
    }],
    ['deep updates everywhere', { spread: 3000, levels: 8000, depth: 1000, auditEvery: 20_000 }],
    ['loads in mid run', { depth: 200, levels: 600, loadEvery: 700, updates: 200_000 }],
    ['about as many levels as the depth', {
      depth: 60,
      levels: 60,
      spread: 25,
      updates: 150_000,
      auditEvery: 10,
    }],
  ]
  shapes.forEach(([name, shape], i) => {
    test(name, () => {
      const applied = run({ ...usual, seed: 11 + i, ...shape })
      assert.ok(applied >= (shape.updates ?? usual.updates))
    })
  })
})
