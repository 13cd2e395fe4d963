/** One strategy on the paper exchange, driven event by event; everything that happens is a line. */
import { Book as CoreBook } from '../../src/core/book.ts'
import type { Broker, BrokerEvents } from '../../src/orders/broker.ts'
import { Grid } from '../../src/orders/grid.ts'
import type { Limits } from '../../src/orders/limits.ts'
import { type Latency, PaperExchange } from '../../src/orders/paper.ts'
import { parseQueueModel } from '../../src/orders/queue.ts'
import { Schedule } from '../../src/orders/schedule.ts'
import type { BookRef, Json, Market, Strategy } from '../../src/strategy/contract.ts'
import { type Applied, type BookEvent, Drive, ScheduledTimers } from '../../src/strategy/drive.ts'
import { LiveBook } from '../../src/strategy/live-book.ts'
import type { Recorder } from '../../src/strategy/recorder.ts'
import { Runner } from '../../src/strategy/runner.ts'
import { market } from '../orders/paper-world.ts'
import { changesOf, levels } from './books.ts'

const DECIMALS = 4

export interface WorldOptions {
  readonly model?: string
  readonly latency?: Latency
  readonly everyEvent?: boolean
  readonly limits?: Limits
  readonly seed?: string
  readonly state?: Record<string, Json>
  readonly folder?: string
  readonly market?: Partial<Market>
  /** In place of the paper exchange. */
  readonly broker?: (events: BrokerEvents) => Broker
}

export class World<P extends object> {
  /** `input ...` and `output ...`, in order. */
  readonly lines: string[] = []
  readonly schedule: Schedule = new Schedule()
  readonly runner: Runner<P>
  readonly drive: Drive
  readonly books: Map<string, LiveBook> = new Map()
  events!: BrokerEvents
  /** Called while an event is applied: when all that was due before must have run. */
  applying: (book: LiveBook) => void = () => {}

  constructor(strategy: Strategy<P>, options: WorldOptions = {}) {
    const refs = strategy.books(strategy.params)
    const markets = new Map<BookRef, Market>()
    for (const ref of refs) {
      this.books.set(ref, new LiveBook(ref, new CoreBook(DECIMALS, DECIMALS, Infinity)))
      markets.set(ref, market({ ref, ...options.market }))
    }
    const timers = new ScheduledTimers(this.schedule)
    let paper: PaperExchange | undefined
    this.runner = new Runner<P>({
      strategy,
      params: strategy.params,
      books: [...this.books.values()],
      markets,
      limits: options.limits,
      broker: (events) => {
        this.events = events
        if (options.broker !== undefined) return options.broker(events)
        const papers = [...this.books.values()].map(({ ref, book }) => ({
          ref,
          book,
          grid: new Grid(markets.get(ref)!, DECIMALS),
        }))
        paper = new PaperExchange(papers, this.schedule, events, {
          model: parseQueueModel(options.model ?? 'worst')!,
          latency: options.latency ?? { entryUs: 0, responseUs: 0, feedUs: 0 },
        })
        return paper
      },
      timers,
      seed: options.seed ?? 'seed',
      startUs: 1_795_362_721_783_000,
      recorder: this.#recorder(),
      state: options.state,
      folder: options.folder,
    })
    this.drive = new Drive(this.runner as unknown as Runner, this.schedule, timers, {
      paper,
      everyEvent: options.everyEvent ?? true,
    })
  }

  /** `setup`, and handlers from now on. */
  begin(us = 0): this {
    this.runner.setup(us)
    this.drive.begin(us)
    return this
  }

  /** The whole book becomes this at `us`. */
  becomes(us: number, bids: string, asks: string, ref?: string, applied?: Applied): void {
    const book = ref === undefined ? [...this.books.values()][0]! : this.books.get(ref)!
    this.drive.take(
      this.#event(us, book, applied ?? (book.epoch < 0 ? 'restart' : 'change'), () => {
        const changes = changesOf(levels(bids), levels(asks))
        if (book.book.bidCount + book.book.askCount === 0) book.book.load(changes)
        else book.book.replace(changes)
      }),
    )
  }

  /** It says `applied` without a change. */
  says(us: number, applied: Applied, reason = 'gap', ref?: string): void {
    const book = ref === undefined ? [...this.books.values()][0]! : this.books.get(ref)!
    this.drive.take({ ...this.#event(us, book, applied, () => {}), reason })
  }

  #event(us: number, book: LiveBook, applied: Applied, change: () => void): BookEvent {
    return {
      book,
      atUs: us,
      reason: 'gap',
      apply: () => {
        this.applying(book)
        change()
        if (applied === 'restart') {
          book.epoch++
          book.seq = 0
        } else if (applied === 'change') book.seq++
        book.receivedUs = us
        book.proof = 'sequence'
        return applied
      },
    }
  }

  /** Lines since the last call that begin with one of `kinds`. */
  told(...kinds: string[]): string[] {
    return this.lines.splice(0).filter((line) =>
      kinds.length === 0 || kinds.some((kind) => line.startsWith(kind))
    )
  }

  #recorder(): Recorder {
    const add = (line: string) => this.lines.push(line)
    return {
      started: (us) => add(`started @${us}`),
      book: (book, skipped, us) => add(`book ${book.ref} ${book.seq} skipped ${skipped} @${us}`),
      invalid: (ref, reason, us) => add(`invalid ${ref} ${reason} @${us}`),
      timer: (name, us) => add(`timer ${name} @${us}`),
      answer: (event, us) => add(`answer ${event.type} @${us}`),
      stopped: (us) => add(`stopped @${us}`),
      intent: ({ side, size, price }) => add(`intent ${side} ${size}@${price}`),
      cancel: (id) => add(`cancel ${id.slice(-1)}`),
      signal: (name, value, book) => add(`signal ${name} ${value} ${book?.ref ?? '-'}`),
      state: (key, value) => add(`state ${key} ${JSON.stringify(value)}`),
      order: ({ id, n, state, reason }) =>
        add(`order ${id.slice(-1)} v${n} ${state}${reason === undefined ? '' : ` ${reason}`}`),
      fill: ({ order, n, size, price, position }) =>
        add(`fill ${order.slice(-1)} #${n} ${size}@${price} position ${position}`),
      log: (text, fields) => add(`log ${text} ${JSON.stringify(fields ?? null)}`),
      halted: (why) => add(`halted ${why}`),
    }
  }
}
