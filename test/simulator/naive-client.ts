/** A client as simple as can be: it believes every frame and keeps its books in maps of text. */
import { CoinbaseExchange } from '../../src/simulator/coinbase.ts'
import type { ExchangeOptions } from '../../src/simulator/exchange.ts'

interface Frame {
  readonly type?: string
  readonly message?: string
  readonly channel?: string
  readonly timestamp?: string
  readonly sequence_num?: number
  readonly events?: readonly {
    readonly type?: 'snapshot' | 'update'
    readonly product_id?: string
    readonly heartbeat_counter?: number
    readonly current_time?: string
    readonly subscriptions?: Record<string, string[]>
    readonly updates?: readonly {
      readonly side: 'bid' | 'offer'
      readonly event_time: string
      readonly price_level: string
      readonly new_quantity: string
    }[]
  }[]
}

const decoder = new TextDecoder()

export class NaiveClient {
  readonly frames: Frame[] = []
  readonly bids = new Map<string, Map<string, string>>()
  readonly asks = new Map<string, Map<string, string>>()
  /** Deletes of prices that were not there. */
  orphans = 0
  /** Frames whose sequence was not the next one. */
  gaps = 0
  undecodable = 0
  lastSequence = -1

  receive(bytes: Uint8Array): void {
    let frame: Frame
    try {
      frame = JSON.parse(decoder.decode(bytes))
    } catch {
      this.undecodable++
      return
    }
    this.frames.push(frame)
    if (frame.sequence_num !== undefined) {
      if (frame.sequence_num !== this.lastSequence + 1) this.gaps++
      this.lastSequence = frame.sequence_num
    }
    if (frame.channel !== 'l2_data') return
    for (const event of frame.events!) {
      const id = event.product_id!
      if (event.type === 'snapshot') {
        this.bids.set(id, new Map())
        this.asks.set(id, new Map())
      }
      for (const update of event.updates!) {
        const side = (update.side === 'bid' ? this.bids : this.asks).get(id)!
        if (update.new_quantity !== '0') side.set(update.price_level, update.new_quantity)
        else if (!side.delete(update.price_level)) this.orphans++
      }
    }
  }

  book(id: string): { bids: [string, string][]; asks: [string, string][] } {
    return {
      bids: [...this.bids.get(id) ?? []].sort((a, b) => Number(b[0]) - Number(a[0])),
      asks: [...this.asks.get(id) ?? []].sort((a, b) => Number(a[0]) - Number(b[0])),
    }
  }

  isCrossed(id: string): boolean {
    const { bids, asks } = this.book(id)
    return bids.length > 0 && asks.length > 0 && Number(bids[0]![0]) >= Number(asks[0]![0])
  }

  of(channel: string): Frame[] {
    return this.frames.filter((frame) => frame.channel === channel)
  }

  get errors(): string[] {
    return this.frames.filter((frame) => frame.type === 'error').map((frame) => frame.message!)
  }
}

/** An exchange and its clients without any I/O, under a clock that the test turns. */
export class Floor {
  readonly exchange: CoinbaseExchange
  readonly clients = new Map<number, NaiveClient>()
  readonly closed: { connection: number; code: number; reason: string }[] = []
  /** Every frame that left, in order. */
  readonly sent: { connection: number; text: string }[] = []
  nowMs = 1_795_362_721_000

  constructor(options: ExchangeOptions) {
    this.exchange = new CoinbaseExchange(options, {
      frame: (connection, bytes) => {
        this.sent.push({ connection, text: decoder.decode(bytes) })
        this.clients.get(connection)?.receive(bytes)
      },
      close: (connection, code, reason) => this.closed.push({ connection, code, reason }),
    })
    this.exchange.tick(this.nowMs)
  }

  connect(): number {
    const id = this.exchange.connect(this.nowMs)
    if (id >= 0) this.clients.set(id, new NaiveClient())
    return id
  }

  say(connection: number, message: unknown): void {
    const text = typeof message === 'string' ? message : JSON.stringify(message)
    this.exchange.receive(connection, text, this.nowMs)
  }

  subscribe(connection: number, ids: readonly string[], channel = 'level2'): void {
    this.say(connection, { type: 'subscribe', product_ids: ids, channel })
  }

  unsubscribe(connection: number, ids: readonly string[], channel = 'level2'): void {
    this.say(connection, { type: 'unsubscribe', product_ids: ids, channel })
  }

  run(ms: number, stepMs = 10): void {
    for (let passed = 0; passed < ms; passed += stepMs) {
      this.nowMs += stepMs
      this.exchange.tick(this.nowMs)
    }
  }
}
