/**
 * The paper exchange, one for live paper and replay. It sees levels, no trades, and our orders are
 * not in the book: each rule says what must have happened (`worst`), may have (`best`) or probably
 * did. README tells the rules. What is due runs before an event is applied, never after.
 */
import type { Book } from '../core/book.ts'
import { scaledFromText } from '../core/decimal.ts'
import { amountText, roundDecimal } from '../core/exact.ts'
import type { BookRef } from '../strategy/contract.ts'
import type { Broker, BrokerEvent, BrokerEvents, Intent, ListedOrder } from './broker.ts'
import type { Grid } from './grid.ts'
import { PaperSide, type Resting, type SizeScale } from './paper-side.ts'
import type { QueueModel } from './queue.ts'
import { RANK, type Schedule } from './schedule.ts'

/** Microseconds; an order meets the book as of `entry + feed` later, its answer comes `response` after. */
export interface Latency {
  readonly entryUs: number
  readonly responseUs: number
  readonly feedUs: number
}

export interface PaperMarket {
  readonly ref: BookRef
  readonly book: Book
  readonly grid: Grid
}

export interface PaperOptions {
  readonly model: QueueModel
  readonly latency: Latency
}

/** Above this part of the touch our own trading would have moved the market: impact is not modelled. */
const SHARE_WARNED = 0.1

/** One market: both sides, and whether its book can be traded on. */
class Paper implements SizeScale {
  readonly market: PaperMarket
  readonly bids: PaperSide
  readonly asks: PaperSide
  valid = false
  readonly #factor: number
  readonly #divides: boolean

  constructor(market: PaperMarket, model: QueueModel) {
    this.market = market
    const { book, grid } = market
    const places = book.sizeDecimals - grid.sizeDecimals
    this.#divides = places > 0
    this.#factor = Number(`1e${Math.abs(places)}`)
    this.bids = new PaperSide(1, book.bids, this, model)
    this.asks = new PaperSide(-1, book.asks, this, model)
  }

  units(size: number): number {
    if (size < 0) {
      const { market: { book, grid } } = this
      const text = roundDecimal(book.sizeText(size), grid.sizeText(1), 'down')
      const units = scaledFromText(text, grid.sizeDecimals)
      return units === units ? units : Number.MAX_SAFE_INTEGER
    }
    return this.#divides ? Math.floor(size / this.#factor) : size * this.#factor
  }
}

export class PaperExchange implements Broker {
  readonly showsInBook = false
  /** Orders that arrived, and those of them whose size was more than a tenth of the touch. */
  orders = 0
  largeOrders = 0
  /** The greatest part of a touch that an order was. */
  largestShare = 0
  readonly #schedule: Schedule
  readonly #events: BrokerEvents
  readonly #model: QueueModel
  readonly #latency: Latency
  readonly #papers: Map<BookRef, Paper> = new Map()
  /** Resting orders by id. */
  readonly #resting: Map<string, Resting> = new Map()
  /** Trades of each order so far. */
  readonly #trades: Map<string, number> = new Map()

  constructor(
    markets: readonly PaperMarket[],
    schedule: Schedule,
    events: BrokerEvents,
    { model, latency }: PaperOptions,
  ) {
    this.#schedule = schedule
    this.#events = events
    this.#model = model
    this.#latency = latency
    for (const market of markets) this.#papers.set(market.ref, new Paper(market, model))
  }

  submit(intent: Intent): void {
    const { nowUs } = this.#schedule
    this.#answer({ type: 'sent', id: intent.id, atUs: nowUs }, nowUs)
    this.#schedule.at(this.#arrivalUs(), RANK.arrival, { run: () => this.#arrive(intent) })
  }

  cancel(id: string): void {
    this.#schedule.at(this.#arrivalUs(), RANK.arrival, { run: () => this.#cancel(id) })
  }

  /** What is known is known here: nothing is ever in doubt on paper. */
  query(_id: string): void {}

  listOpen(ref: BookRef): void {
    this.#schedule.at(this.#arrivalUs(), RANK.arrival, {
      run: () => {
        const orders = this.#open(ref)
        const atUs = this.#schedule.nowUs + this.#latency.responseUs
        this.#schedule.at(atUs, RANK.answer, { run: () => this.#events.listed(ref, orders) })
      },
    })
  }

  cancelAll(ref?: BookRef): void {
    this.#schedule.at(this.#arrivalUs(), RANK.arrival, {
      run: () => {
        for (const [id, { intent }] of [...this.#resting]) {
          if (ref === undefined || intent.book === ref) this.#cancel(id)
        }
      },
    })
  }

  /** A paper exchange ends with the process. */
  arm(_ms: number): void {}

  close(): Promise<void> {
    return Promise.resolve()
  }

  ahead(id: string): number | undefined {
    const order = this.#resting.get(id)
    if (order === undefined) return undefined
    const paper = this.#papers.get(order.intent.book)!
    const side = order.intent.side === 'buy' ? paper.bids : paper.asks
    return side.aheadOf(order) / 10 ** paper.market.grid.sizeDecimals
  }

  /** The book changed. `gap`: it was loaded, events before it are missing. */
  applied(ref: BookRef, gap: boolean): void {
    const paper = this.#papers.get(ref)!
    const restarts = gap || !paper.valid
    paper.valid = true
    this.#moveSide(paper, paper.bids, paper.asks, restarts)
    this.#moveSide(paper, paper.asks, paper.bids, restarts)
  }

  /** The book is not proven any more: resting orders stand, arrivals are rejected. */
  invalid(ref: BookRef): void {
    this.#papers.get(ref)!.valid = false
  }

  #arrivalUs(): number {
    return this.#schedule.nowUs + this.#latency.entryUs + this.#latency.feedUs
  }

  /** Tells `event` when its answer has come; its `atUs` is then. */
  #answer(event: BrokerEvent, atUs = this.#schedule.nowUs + this.#latency.responseUs): void {
    const answer = { ...event, atUs }
    this.#schedule.at(atUs, RANK.answer, { run: () => this.#events.answered(answer) })
  }

  #arrive(intent: Intent): void {
    const { id } = intent
    const atUs = this.#schedule.nowUs
    const paper = this.#papers.get(intent.book)!
    if (!paper.valid) {
      this.#answer({ type: 'rejected', id, atUs, reason: 'the book is not proven' })
      return
    }
    const buys = intent.side === 'buy'
    const own = buys ? paper.bids : paper.asks
    const other = buys ? paper.asks : paper.bids
    this.#noteShare(intent, own)
    if (intent.postOnly && other.displayed(intent.priceUnits, false) > 0) {
      this.#answer({ type: 'rejected', id, atUs, reason: 'post-only order would take' })
      return
    }
    if (
      intent.tif === 'FOK' && other.displayed(intent.priceUnits, true) < intent.sizeUnits
    ) {
      this.#answer({ type: 'expired', id, atUs, reason: 'cannot be filled whole' })
      return
    }
    // Accepted before it trades, as exchanges tell it.
    if (intent.tif === 'GTC') this.#answer({ type: 'open', id, atUs, exchangeId: `p${id}` })
    let rest = intent.sizeUnits
    const taken: [price: number, units: number][] = []
    other.walk(intent.priceUnits, true, (price, units) => {
      const part = Math.min(rest, units)
      taken.push([price, part])
      rest -= part
      return rest > 0
    })
    for (const [price, units] of taken) {
      other.take(price, units)
      this.#fill(paper, intent, paper.market.book.priceText(price), units, 'taker')
    }
    if (rest === 0) return this.#forget(id)
    if (intent.tif !== 'GTC') {
      this.#forget(id)
      this.#answer({ type: 'expired', id, atUs, reason: 'no more within the limit' })
      return
    }
    own.join(intent, rest, intent.sizeUnits - rest)
    const order = own.resting.find((resting) => resting.intent === intent)!
    this.#resting.set(id, order)
    // In the best case an empty side says nothing: everything may be trading with us.
    if (this.#model.kind === 'best') this.#moveSide(paper, own, other, false)
  }

  #cancel(id: string): void {
    const order = this.#resting.get(id)
    const atUs = this.#schedule.nowUs
    // Filled, or never there: the order's own answers tell it.
    if (order === undefined) return
    const paper = this.#papers.get(order.intent.book)!
    const side = order.intent.side === 'buy' ? paper.bids : paper.asks
    side.leave(order)
    this.#forget(id)
    this.#answer({ type: 'canceled', id, atUs })
  }

  /** What an event did to our orders of one side. */
  #moveSide(paper: Paper, own: PaperSide, other: PaperSide, gap: boolean): void {
    if (own.resting.length === 0 && !own.hasTaken) return
    own.applied(gap, (order, units) => this.#restingFill(paper, order, units))
    const first = own.resting[0]
    if (first !== undefined && other.reaches(first.key)) this.#meetDisplayed(paper, own, other)
  }

  /** Others' orders stand at or beyond our prices: they would have traded with us. */
  #meetDisplayed(paper: Paper, own: PaperSide, other: PaperSide): void {
    const done: Resting[] = []
    for (const order of own.resting) {
      const limit = order.intent.priceUnits
      let most = Infinity
      if (this.#model.kind !== 'best') {
        // What we had before may stand in the way of more, wherever it went since: surely ours is
        // only what is displayed at once beyond that.
        const displayed = other.displayed(limit, false)
        if (displayed === 0) break
        most = displayed - order.filled
      }
      const parts: [price: number, units: number][] = []
      let wanted = Math.min(order.remaining, most)
      if (wanted > 0) {
        other.walk(limit, true, (price, units) => {
          const part = Math.min(wanted, units)
          parts.push([price, part])
          wanted -= part
          return wanted > 0
        })
      }
      for (const [price, units] of parts) {
        other.take(price, units)
        order.remaining -= units
        order.filled += units
        this.#restingFill(paper, order, units)
      }
      if (order.remaining === 0) done.push(order)
    }
    for (const order of done) own.leave(order)
  }

  #restingFill(paper: Paper, order: Resting, units: number): void {
    this.#fill(paper, order.intent, order.intent.price, units, 'maker')
    if (order.remaining === 0) this.#forget(order.intent.id)
  }

  #fill(
    paper: Paper,
    intent: Intent,
    price: string,
    units: number,
    liquidity: 'maker' | 'taker',
  ): void {
    const { grid } = paper.market
    const { id } = intent
    const size = grid.sizeText(units)
    const n = (this.#trades.get(id) ?? 0) + 1
    this.#trades.set(id, n)
    this.#answer({
      type: 'fill',
      id,
      atUs: this.#schedule.nowUs,
      trade: `${id}-${n}`,
      price,
      size,
      fee: amountText(grid.fee(grid.costOf(price, size), liquidity)),
      feeCurrency: grid.market.quote,
      liquidity,
      timestampUs: this.#schedule.nowUs - this.#latency.feedUs,
    })
  }

  #forget(id: string): void {
    this.#resting.delete(id)
    this.#trades.delete(id)
  }

  #noteShare(intent: Intent, own: PaperSide): void {
    this.orders++
    let touch = 0
    own.walk(own.sign * -Infinity, false, (_, units) => {
      touch = units
      return false
    })
    const share = intent.sizeUnits / touch
    if (share > SHARE_WARNED) this.largeOrders++
    if (share > this.largestShare && share < Infinity) this.largestShare = share
  }

  #open(ref: BookRef): ListedOrder[] {
    const orders: ListedOrder[] = []
    for (const { intent, filled } of this.#resting.values()) {
      if (intent.book !== ref) continue
      const { grid } = this.#papers.get(ref)!.market
      orders.push({
        id: intent.id,
        exchangeId: `p${intent.id}`,
        side: intent.side,
        price: intent.price,
        size: intent.size,
        filled: grid.sizeText(filled),
      })
    }
    return orders
  }
}
