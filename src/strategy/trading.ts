/** The money side of a run: orders, positions and risk over all books of a strategy. */
import { AMOUNT_DECIMALS, amountOf, amountText, power10 } from '../core/exact.ts'
import type { FillEvent, Intent } from '../orders/broker.ts'
import { Grid } from '../orders/grid.ts'
import { type Limits, limitsOf } from '../orders/limits.ts'
import type { OrderIds } from '../orders/order-id.ts'
import { OrderTable } from '../orders/order-table.ts'
import { TrackedOrder } from '../orders/order.ts'
import { Position } from '../orders/position.ts'
import { RiskEngine } from '../orders/risk-engine.ts'
import type { BookState, Holding, OpenOrder } from '../orders/risk.ts'
import type { BookRef, Fill, Market, OrderRequest } from './contract.ts'
import type { LiveBook, SideView } from './live-book.ts'

/** Strategy time between two looks at the result, besides those at fills and orders. */
const MARK_US = 100_000

/** What is known of one book's market. */
export interface Desk {
  readonly live: LiveBook
  readonly grid: Grid
  readonly position: Position
  /** Older news than this are not traded on; Infinity: nobody says. */
  readonly ageLimitUs: number
  /** Worth of the position at the bad side when last seen. */
  mark: bigint
}

export class Trading {
  readonly table: OrderTable = new OrderTable()
  readonly risk: RiskEngine
  readonly desks: ReadonlyMap<BookRef, Desk>
  readonly #ids: OrderIds
  #markedUs = -Infinity

  /** @throws {ObfeedError} exit 78: a market that cannot be traded on exactly */
  constructor(
    books: Iterable<LiveBook>,
    markets: ReadonlyMap<BookRef, Market>,
    limits: Limits | undefined,
    ids: OrderIds,
  ) {
    this.risk = new RiskEngine(limits)
    this.#ids = ids
    const desks = new Map<BookRef, Desk>()
    for (const live of books) {
      const market = markets.get(live.ref)
      if (market === undefined) throw new Error(`no market is known for ${live.ref}`)
      const grid = new Grid(market, live.book.priceDecimals)
      const ageLimitUs = limits === undefined
        ? Infinity
        : limitsOf(limits, live.ref).maxBookAgeMs * 1000
      desks.set(live.ref, { live, grid, position: new Position(grid), ageLimitUs, mark: 0n })
    }
    this.desks = desks
  }

  /** Throws a RangeError, which ends the strategy: a book that it did not name. */
  desk(ref: BookRef): Desk {
    const desk = this.desks.get(ref)
    if (desk !== undefined) return desk
    throw new RangeError(
      `"${ref}" is no book of this strategy, expected one of ${
        [...this.desks.keys()].join(', ')
      }; ` +
        'return it from books()',
    )
  }

  /** An order that passed grid and risk, or a refused one. */
  order(request: OrderRequest, nowUs: number): TrackedOrder {
    const { live, grid, position } = this.desk(request.book)
    const { side, price, size } = request
    if (side !== 'buy' && side !== 'sell') {
      throw new RangeError(`side was "${String(side)}", expected buy or sell`)
    }
    const tif = request.tif ?? 'GTC'
    const placed = grid.place(side, price, size)
    const intent: Intent = {
      id: this.#ids.next(),
      book: request.book,
      side,
      ...(placed ?? { price: String(price), size: String(size), priceUnits: 0, sizeUnits: 0 }),
      tif,
      postOnly: request.postOnly ?? false,
      reduceOnly: request.reduceOnly ?? false,
      tag: request.tag,
      epoch: live.epoch,
      seq: live.seq,
      bookUs: live.receivedUs,
      decidedUs: nowUs,
    }
    if (placed === undefined) {
      const { tick, step } = grid.market
      return new TrackedOrder(
        intent,
        grid.sizeDecimals,
        `E_GRID: ${size} at ${price} is not on the grid of ${step} at ${tick}`,
      )
    }
    this.mark(nowUs)
    const book = stateOf(live)
    const refusal = this.risk.check(intent, {
      decided: book,
      newest: book,
      displayedUnits: tif === 'GTC' ? 0 : displayedUnits(live, grid, intent),
      grid,
      position: position.units,
      holdings: this.#holdings(),
      open: this.#open(),
    }, nowUs)
    const refused = refusal === undefined ? undefined : `${refusal.code}: ${refusal.text}`
    return new TrackedOrder(intent, grid.sizeDecimals, refused)
  }

  /** Books a fill that counted; its position is the one after it. */
  fill(order: TrackedOrder, event: FillEvent): Fill {
    const { intent } = order
    const { position, grid } = this.desk(intent.book)
    const inQuote = event.feeCurrency === grid.market.quote
    // A fee in another currency takes nothing of the quote's cash.
    position.apply(intent.side, event.price, event.size, inQuote ? event.fee : '0')
    return {
      order: intent.id,
      trade: event.trade,
      n: order.fills,
      book: intent.book,
      side: intent.side,
      price: event.price,
      size: event.size,
      fee: event.fee,
      feeCurrency: event.feeCurrency,
      liquidity: event.liquidity,
      timestampUs: event.timestampUs,
      receivedUs: event.atUs,
      position: position.text,
      tag: intent.tag,
    }
  }

  /** Looks at the result, now and then or at once. True: that halted the run. */
  mark(nowUs: number, atOnce = true): boolean {
    if (this.risk.limits === undefined) return false
    if (!atOnce && nowUs - this.#markedUs < MARK_US) return false
    this.#markedUs = nowUs
    let result = 0n
    let flat = true
    for (const desk of this.desks.values()) {
      const { position, live } = desk
      if (position.units !== 0n) {
        flat = false
        const [price] = (position.units > 0n ? live.bids : live.asks).text(0)
        // Without a price the last worth stands: what it is now nobody knows.
        if (price !== '' && live.valid) desk.mark = position.value(price)
      } else desk.mark = 0n
      result += position.cash + desk.mark
    }
    return this.risk.marked(result, flat, nowUs)
  }

  /** All that was made or lost, marked at the bad side, exact. */
  get result(): string {
    let result = 0n
    for (const { position, mark } of this.desks.values()) result += position.cash + mark
    return amountText(result)
  }

  /** Our resting sizes inside a book, where the broker says that they are in it. */
  showOwn(ref: BookRef): void {
    const { live, grid } = this.desk(ref)
    const bids = new Map<number, number>()
    const asks = new Map<number, number>()
    const scale = 10 ** (live.book.sizeDecimals - grid.sizeDecimals)
    for (const order of this.table.open(ref)) {
      if (order.state !== 'open' && order.state !== 'partial' && order.state !== 'canceling') {
        continue
      }
      const side = order.intent.side === 'buy' ? bids : asks
      const price = order.intent.priceUnits
      side.set(price, (side.get(price) ?? 0) + order.remainingUnits * scale)
    }
    live.bids.resting = bids
    live.asks.resting = asks
  }

  *#holdings(): Generator<Holding> {
    for (const { position, mark } of this.desks.values()) {
      if (position.units === 0n) continue
      const worth = mark === 0n ? position.basis : mark
      yield { units: position.units, worth: worth < 0n ? -worth : worth }
    }
  }

  #open(): OpenOrder[] {
    const open: OpenOrder[] = []
    for (const order of this.table.open()) {
      const { intent } = order
      open.push({
        book: intent.book,
        side: intent.side,
        unknown: order.state === 'unknown',
        rests: intent.tif === 'GTC',
        priceUnits: intent.priceUnits,
        sizeUnits: order.remainingUnits,
        grid: this.desk(intent.book).grid,
      })
    }
    return open
  }
}

function stateOf(live: LiveBook): BookState {
  return {
    valid: live.valid,
    proof: live.proof,
    ageUs: live.ageUs,
    bid: live.bids.text(0)[0],
    ask: live.asks.text(0)[0],
  }
}

/** Displayed size on the other side within the order's limit, in the step's decimals. */
function displayedUnits(live: LiveBook, grid: Grid, intent: Intent): number {
  const buys = intent.side === 'buy'
  const side: SideView = buys ? live.asks : live.bids
  const limit = amountOf(intent.price)
  let sum = 0n
  for (let i = 0; i < side.count; i++) {
    const [price, size] = side.text(i)
    if (buys ? amountOf(price) > limit : amountOf(price) < limit) break
    sum += amountOf(size)
  }
  return Number(sum / power10(AMOUNT_DECIMALS - grid.sizeDecimals))
}
