/**
 * The interval holds: in markets of single orders, where a twin market holds our order and knows
 * the truth, `worst` never has more of it filled than the truth, and `best` never less.
 */
import { describe, test } from 'node:test'
import assert from 'node:assert/strict'
import { Book } from '../../src/core/book.ts'
import { ASK, BID, LevelChanges } from '../../src/core/changes.ts'
import type { BrokerEvent } from '../../src/orders/broker.ts'
import { Grid } from '../../src/orders/grid.ts'
import { PaperExchange } from '../../src/orders/paper.ts'
import { parseQueueModel } from '../../src/orders/queue.ts'
import { Schedule } from '../../src/orders/schedule.ts'
import { type Deed, FifoMarket, PRICES } from './fifo-market.ts'
import { market, REF } from './paper-world.ts'

const MARKETS = 20_000
const EVENTS = 400
const WARM = 30
const OURS = 1_000_000
const MIDDLE = PRICES / 2

/** Park-Miller: the same markets on every machine. */
class Random {
  #state: number

  constructor(seed: number) {
    this.#state = seed * 7919 % 2147483646 + 1
    for (let i = 0; i < 4; i++) this.below(2)
  }

  /** From 0 to `n` - 1. */
  below(n: number): number {
    this.#state = this.#state * 48271 % 2147483647
    return Math.floor(this.#state / 2147483647 * n)
  }
}

function nextDeed(random: Random, base: FifoMarket): Deed {
  const what = random.below(10)
  const buys = random.below(2) === 0
  const size = 1 + random.below(3)
  if (what < 5) {
    const away = random.below(6)
    // Mostly behind the middle, now and then through it.
    const price = buys ? MIDDLE + 1 - away : MIDDLE - 1 + away
    return { kind: 'limit', buys, price: Math.max(0, Math.min(PRICES - 1, price)), size }
  }
  if (what < 7) return { kind: 'market', buys, size }
  const ids = base.places.size
  if (ids === 0) return { kind: 'market', buys, size }
  let skip = random.below(ids)
  for (const id of base.places.keys()) if (skip-- === 0) return { kind: 'cancel', id }
  throw new Error('unreachable')
}

interface Outcome {
  /** Events until each had filled the order whole; -1: not within the market. */
  readonly worst: number
  readonly truth: number
  readonly best: number
  readonly violations: string[]
}

function live(seed: number): Outcome {
  const random = new Random(seed)
  const base = new FifoMarket()
  const twin = new FifoMarket(OURS)
  const book = new Book(1, 0, Infinity)
  const changes = new LevelChanges(16)
  const schedule = new Schedule()
  const size = 1 + seed % 5
  const buys = random.below(2) === 0
  const filled = { worst: 0, best: 0 }
  const grid = new Grid(market({ tick: '1', step: '1', minSize: '1' }), 1)
  const papers = (['worst', 'best'] as const).map((model) =>
    new PaperExchange([{ ref: REF, book, grid }], schedule, {
      answered(event: BrokerEvent) {
        if (event.type === 'fill') filled[model] += Number(event.size)
      },
      listed() {},
    }, {
      model: parseQueueModel(model)!,
      latency: { entryUs: 0, responseUs: 0, feedUs: 0 },
    })
  )
  const publish = () => {
    changes.reset()
    for (const [which, touched] of base.dirty.entries()) {
      for (const price of touched) {
        const i = changes.count++
        changes.side[i] = which === 0 ? BID : ASK
        changes.price[i] = (price + 1) * 10
        changes.size[i] = base.level(which === 0, price)
      }
      touched.clear()
    }
    book.apply(changes)
    for (const paper of papers) paper.applied(REF, false)
    schedule.runUpTo(schedule.nowUs)
  }
  const done = { worst: -1, truth: -1, best: -1 }
  const violations: string[] = []
  for (let event = 0; event < EVENTS + WARM; event++) {
    const deed = nextDeed(random, base)
    base.do(deed, event)
    twin.do(deed, event)
    publish()
    if (event === WARM) {
      const touch = base.best(buys)
      const offset = random.below(4) - 1
      const at = touch < 0 ? MIDDLE : buys ? touch - offset : touch + offset
      const price = Math.max(0, Math.min(PRICES - 1, at))
      twin.do({ kind: 'limit', buys, price, size }, OURS)
      for (const paper of papers) {
        paper.submit({
          id: 'o',
          book: REF,
          side: buys ? 'buy' : 'sell',
          price: String(price + 1),
          size: String(size),
          priceUnits: (price + 1) * 10,
          sizeUnits: size,
          tif: 'GTC',
          postOnly: false,
          reduceOnly: false,
          tag: undefined,
          epoch: 1,
          seq: event,
          bookUs: 0,
          decidedUs: 0,
        })
      }
      schedule.runUpTo(schedule.nowUs)
    }
    if (event < WARM) continue
    const truth = twin.filled
    if (filled.worst > truth || truth > filled.best) {
      violations.push(`seed ${seed} event ${event}: ${filled.worst} ${truth} ${filled.best}`)
      break
    }
    if (done.worst < 0 && filled.worst === size) done.worst = event - WARM
    if (done.truth < 0 && truth === size) done.truth = event - WARM
    if (done.best < 0 && filled.best === size) done.best = event - WARM
    if (done.worst >= 0) break
  }
  return { ...done, violations }
}

describe('worst and best', () => {
  test(`hold the truth between them in 20,000 markets, order sizes 1 to 5`, () => {
    const violations: string[] = []
    const filled = { worst: 0, truth: 0, best: 0 }
    const events = { worst: 0, truth: 0, best: 0 }
    for (let seed = 1; seed <= MARKETS; seed++) {
      const outcome = live(seed)
      violations.push(...outcome.violations)
      for (const which of ['worst', 'truth', 'best'] as const) {
        if (outcome[which] < 0) continue
        filled[which]++
        events[which] += outcome[which]
      }
    }
    assert.deepEqual(violations.slice(0, 5), [], `${violations.length} violations`)
    // The interval says something: it is neither empty nor everything.
    assert.ok(filled.worst > MARKETS / 3 && filled.truth > filled.worst, JSON.stringify(filled))
    assert.ok(events.best / filled.best < events.truth / filled.truth)
  })
})
