/**
 * An independent consumer: the stock kafkajs consumer group, without any codec of its own, and a
 * naive book with the README's rule, sharing no code with the product. It audits all that it sees.
 */
import kafkajs, { type Consumer } from 'kafkajs'
import { randomUUID } from 'node:crypto'

const { Kafka, logLevel } = kafkajs

type Levels = Map<string, string>

interface WireEvent {
  type: string
  symbol: string
  epoch: string
  seq: string
  nonce?: string
  depth?: string
  part?: string
  parts?: string
  reason?: string
  state?: string
  bids?: [string, string][]
  asks?: [string, string][]
}

/** JSON.parse that keeps the text of every number. */
function parse(text: string): WireEvent {
  // A number is always preceded by `:`, `[` or `,` in the wire format; no string in it looks so.
  return JSON.parse(text.replace(/([:[,])(-?\d[\d.]*)/g, '$1"$2"')) as WireEvent
}

export class ConsumerBook {
  epoch = -1
  seq = -1
  valid = false
  /** Levels a side that the last snapshot vouched for. */
  depth = Infinity
  bids: Levels = new Map()
  asks: Levels = new Map()
  lastReason = ''
  parts: WireEvent[] = []
  counts = { snapshot: 0, checkpoint: 0, delta: 0, invalid: 0, heartbeat: 0 }
}

export interface Truth {
  readonly bids: readonly (readonly [string, string])[]
  readonly asks: readonly (readonly [string, string])[]
}

const sorted = (levels: Levels, direction: number): [string, string][] =>
  [...levels].sort((a, b) => direction * (Number(a[0]) - Number(b[0])))

export class TopicConsumer {
  readonly books = new Map<string, ConsumerBook>()
  /** Everything that must never happen, in words. */
  readonly faults: string[] = []
  records = 0
  zombies = 0
  /** Called with each valid book after each change of it. */
  onState: ((symbol: string, book: ConsumerBook) => void) | undefined
  #consumer: Consumer
  #offsets = new Map<number, bigint>()

  constructor(brokers: string) {
    this.#consumer = new Kafka({
      clientId: 'independent',
      brokers: brokers.split(','),
      logLevel: logLevel.NOTHING,
      retry: { initialRetryTime: 200, maxRetryTime: 1000, retries: 1000 },
    }).consumer({
      groupId: `independent-${randomUUID()}`,
      sessionTimeout: 10_000,
      maxWaitTimeInMs: 100,
      allowAutoTopicCreation: false,
    })
  }

  async start(topic: string): Promise<void> {
    this.#consumer.on('consumer.crash', ({ payload }) => {
      if (!payload.restart) this.faults.push(`consumer crashed: ${payload.error.message}`)
    })
    await this.#consumer.connect()
    await this.#consumer.subscribe({ topic, fromBeginning: true })
    await this.#consumer.run({
      eachMessage: ({ partition, message }) => {
        const offset = BigInt(message.offset)
        // After a rebalance the group may hand out records again: that is the group, not the log.
        if (offset <= (this.#offsets.get(partition) ?? -1n)) return Promise.resolve()
        this.#offsets.set(partition, offset)
        this.#receive(message.value!.toString(), message.key!.toString(), partition)
        return Promise.resolve()
      },
    })
  }

  async stop(): Promise<void> {
    await Promise.race([
      this.#consumer.disconnect().catch(() => {}),
      new Promise((resolve) => setTimeout(resolve, 3000)),
    ])
  }

  #receive(value: string, key: string, partition: number): void {
    this.records++
    const event = parse(value)
    const at = `${event.symbol} epoch ${event.epoch} seq ${event.seq} in partition ${partition}`
    if (key !== event.symbol) this.faults.push(`${at}: key was ${key}`)
    let book = this.books.get(event.symbol)
    if (!book) this.books.set(event.symbol, book = new ConsumerBook())
    const epoch = Number(event.epoch)
    const seq = Number(event.seq)
    if (epoch < book.epoch) {
      // A request of a spent producer that was stored late: allowed, and dropped.
      this.zombies++
      return
    }
    if (epoch > book.epoch) {
      book.epoch = epoch
      book.seq = -1
      book.valid = false
      book.parts = []
    }
    if (event.type === 'snapshot') this.#snapshot(book, event, seq, at)
    else if (event.type === 'delta') this.#delta(book, event, seq, at)
    else if (event.type === 'invalid') {
      book.counts.invalid++
      book.valid = false
      book.seq = Number.MAX_SAFE_INTEGER // nothing of this epoch counts any more
      book.lastReason = event.reason ?? ''
    } else if (event.type === 'heartbeat') {
      book.counts.heartbeat++
      if (book.valid && event.state === 'live' && seq !== book.seq) {
        this.faults.push(`${at}: heartbeat, the book is at seq ${book.seq}`)
      }
    }
    if (book.valid) {
      const bid = Math.max(...[...book.bids.keys()].map(Number))
      const ask = Math.min(...[...book.asks.keys()].map(Number))
      if (bid >= ask) this.faults.push(`${at}: crossed, ${bid} >= ${ask}`)
      if (event.type === 'snapshot' || event.type === 'delta') this.onState?.(event.symbol, book)
    }
  }

  #snapshot(book: ConsumerBook, first: WireEvent, seq: number, at: string): void {
    let event = first
    if (event.parts !== undefined) {
      if (event.part === '0') book.parts = []
      book.parts.push(event)
      if (book.parts.length < Number(event.parts)) return
      event = {
        ...event,
        bids: book.parts.flatMap((part) => part.bids!),
        asks: book.parts.flatMap((part) => part.asks!),
      }
    }
    if (seq < book.seq) return
    const bids = new Map(event.bids)
    const asks = new Map(event.asks)
    if (book.valid && seq === book.seq) {
      book.counts.checkpoint++
      if (!same(book.bids, bids) || !same(book.asks, asks)) {
        this.faults.push(`${at}: the checkpoint is not the book that the deltas made`)
      }
    } else {
      book.counts.snapshot++
    }
    book.bids = bids
    book.asks = asks
    book.seq = seq
    book.depth = Number(event.depth ?? Infinity)
    book.valid = true
  }

  #delta(book: ConsumerBook, event: WireEvent, seq: number, at: string): void {
    if (seq <= book.seq) {
      if (book.valid) this.faults.push(`${at}: delta again, the book is at ${book.seq}`)
      return
    }
    if (!book.valid || seq !== book.seq + 1) {
      if (book.valid) this.faults.push(`${at}: gap, the book was at ${book.seq}`)
      book.valid = false
      return
    }
    book.counts.delta++
    for (const [price, size] of event.bids!) set(book.bids, price, size)
    for (const [price, size] of event.asks!) set(book.asks, price, size)
    book.seq = seq
  }

  /**
   * What differs between the books and the truth; empty when all are valid and equal. `proven`: so
   * many levels a side are compared at most.
   */
  differences(truths: ReadonlyMap<string, Truth>, depth = 1000, proven = Infinity): string[] {
    const found: string[] = []
    for (const [symbol, truth] of truths) {
      const book = this.books.get(symbol)
      if (!book) found.push(`${symbol}: never seen`)
      else if (!book.valid) found.push(`${symbol}: not valid (${book.lastReason})`)
      else {
        const bids = JSON.stringify(sorted(book.bids, -1).slice(0, proven))
        const asks = JSON.stringify(sorted(book.asks, 1).slice(0, proven))
        if (bids !== JSON.stringify(truth.bids.slice(0, Math.min(depth, proven)))) {
          found.push(`${symbol}: bids differ`)
        }
        if (asks !== JSON.stringify(truth.asks.slice(0, Math.min(depth, proven)))) {
          found.push(`${symbol}: asks differ`)
        }
      }
    }
    return found
  }
}

function set(levels: Levels, price: string, size: string): void {
  if (size === '0') levels.delete(price)
  else levels.set(price, size)
}

function same(a: Levels, b: Levels): boolean {
  if (a.size !== b.size) return false
  for (const [price, size] of a) if (b.get(price) !== size) return false
  return true
}
