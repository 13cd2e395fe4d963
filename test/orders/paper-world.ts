/** A paper exchange, one book and a clock, driven by hand. */
import { Book } from '../../src/core/book.ts'
import type { BrokerEvent, FillEvent, Intent, ListedOrder } from '../../src/orders/broker.ts'
import { Grid } from '../../src/orders/grid.ts'
import { type Latency, PaperExchange } from '../../src/orders/paper.ts'
import { Position } from '../../src/orders/position.ts'
import { parseQueueModel } from '../../src/orders/queue.ts'
import { Schedule } from '../../src/orders/schedule.ts'
import type { BookRef, Market } from '../../src/strategy/contract.ts'
import { changesOf, levels } from '../strategy/books.ts'

export const REF: BookRef = 'x:A/B'

export function market(over: Partial<Market> = {}): Market {
  return {
    ref: REF,
    base: 'A',
    quote: 'B',
    tick: '0.5',
    step: '0.0001',
    minSize: '0.0001',
    minCost: '0',
    fees: { maker: '0', taker: '0' },
    contractSize: '1',
    contract: false,
    ...over,
  }
}

export interface Asked {
  readonly side?: 'buy' | 'sell'
  readonly price: string
  readonly size: string
  readonly tif?: 'GTC' | 'IOC' | 'FOK'
  readonly postOnly?: boolean
}

export class PaperWorld {
  readonly book: Book
  readonly grid: Grid
  readonly schedule: Schedule = new Schedule()
  readonly answers: BrokerEvent[] = []
  readonly listed: ListedOrder[] = []
  readonly paper: PaperExchange
  readonly position: Position
  #orders = 0
  readonly #sides: Map<string, 'buy' | 'sell'> = new Map()

  constructor(
    model: string,
    { latency = { entryUs: 0, responseUs: 0, feedUs: 0 } as Latency, of = market(), decimals = 4 } =
      {},
  ) {
    this.book = new Book(decimals, decimals, Infinity)
    this.grid = new Grid(of, decimals)
    this.position = new Position(this.grid)
    this.paper = new PaperExchange(
      [{ ref: REF, book: this.book, grid: this.grid }],
      this.schedule,
      {
        answered: (event) => {
          this.answers.push(event)
          if (event.type !== 'fill') return
          const side = this.#sides.get(event.id)!
          this.position.apply(side, event.price, event.size, event.fee)
        },
        listed: (_ref, orders) => {
          this.listed.push(...orders)
        },
      },
      { model: parseQueueModel(model)!, latency },
    )
  }

  /** Sets the whole book as one event at `us`. */
  becomes(bids: string, asks: string, us = this.schedule.nowUs, gap = false): void {
    this.schedule.runBefore(us)
    const changes = changesOf(levels(bids), levels(asks))
    if (this.book.bidCount + this.book.askCount === 0) this.book.load(changes)
    else this.book.replace(changes)
    this.paper.applied(REF, gap)
    this.schedule.runUpTo(us)
  }

  /** One level changes. `bid 100x6` or `ask 100x0`. */
  level(text: string, us = this.schedule.nowUs): void {
    const [side, level] = text.split(' ') as [string, string]
    this.schedule.runBefore(us)
    const one = levels(level)
    this.book.apply(changesOf(side === 'bid' ? one : [], side === 'ask' ? one : []))
    this.paper.applied(REF, false)
    this.schedule.runUpTo(us)
  }

  /** Decided now; with no latency it arrives at once. */
  order({ side = 'buy', price, size, tif = 'GTC', postOnly = false }: Asked): string {
    const id = `o${this.#orders++}`
    this.#sides.set(id, side)
    const placed = this.grid.place(side, price, size)!
    const intent: Intent = {
      id,
      book: REF,
      side,
      ...placed,
      tif,
      postOnly,
      reduceOnly: false,
      tag: undefined,
      epoch: 1,
      seq: 0,
      bookUs: 0,
      decidedUs: this.schedule.nowUs,
    }
    this.paper.submit(intent)
    this.schedule.runUpTo(this.schedule.nowUs)
    return id
  }

  cancel(id: string): void {
    this.paper.cancel(id)
    this.schedule.runUpTo(this.schedule.nowUs)
  }

  /** Answers since the last call, `type` or `size@price` of fills. */
  told(id?: string): string[] {
    const told = this.answers.splice(0)
      .filter((event) => id === undefined || event.id === id)
      .filter(({ type }) => type !== 'sent')
    return told.map((event) => event.type === 'fill' ? `${event.size}@${event.price}` : event.type)
  }

  fills(): FillEvent[] {
    return this.answers.filter((event): event is FillEvent => event.type === 'fill')
  }
}
