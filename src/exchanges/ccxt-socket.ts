/**
 * What looks to the feed like one WebSocket and is some ccxt objects with sockets of their own: one
 * for all symbols at first, then one more for each symbol whose book has to be asked for again.
 * ccxt cannot forget a book cleanly (most classes keep it over a reconnect, some have no way to
 * unsubscribe), so a book is never asked for twice from the same object.
 */
import type { Socket, SocketEvents } from '../core/environment.ts'
import { overrideEndpoint } from '../core/endpoint.ts'
import { foreignError } from '../core/foreign-text.ts'
import type { Instrument } from '../core/instrument.ts'
import type { CcxtConstructor, CcxtExchange } from './ccxt-client.ts'
import type { CcxtClass } from './ccxt-classes.ts'
import { Lane, type LaneOwner, type Place } from './ccxt-lane.ts'
import { marketOf } from './ccxt-market.ts'
import type { CcxtPosition } from './ccxt-position.ts'
import type { CcxtFrame, CcxtMessage } from './ccxt-session.ts'

/** Stands for the exchange's own addresses, which only ccxt knows. */
const PLACEHOLDER = 'wss://ccxt.invalid'

/** How often the lanes look after their sockets. */
const LOOK_MS = 1000
/** A lane that is to take over has this long for it. */
const JOIN_WITHIN_MS = 60_000

export function placeholderUrl(exchange: string): string {
  return `${PLACEHOLDER}/${exchange}`
}

/** The `--ws-url` that made `url` of the placeholder. */
function overrideOf(url: string, exchange: string): string | undefined {
  if (url.startsWith(PLACEHOLDER)) return undefined
  return url.endsWith(`/${exchange}`) ? url.slice(0, -exchange.length - 1) : url
}

/** Markets as the exchange lists them, by exchange and address; asked for once a process. */
const listings = new Map<string, Promise<readonly unknown[]>>()

const encoder = new TextEncoder()

export class CcxtPseudoSocket implements Socket, LaneOwner {
  readonly bufferedBytes = 0
  isPaused = false
  readonly #id: string
  readonly #row: CcxtClass
  readonly #events: SocketEvents
  readonly #instruments: readonly Instrument[]
  readonly #wsUrl: string | undefined
  readonly #restUrl: string | undefined
  readonly #generations: number[]
  readonly #lanes: Set<Lane> = new Set()
  /** Those that are to take a symbol over, and since when, monotonic ms. */
  readonly #joining: Map<Lane, number> = new Map()
  /** Serves all symbols that no lane of their own has. */
  #main: Lane | undefined
  #make: CcxtConstructor | undefined
  #markets: readonly unknown[] = []
  #limit: number | undefined
  #isEnded = false
  #lookedMs = performance.now()
  #timer: ReturnType<typeof setInterval> | undefined

  constructor(
    id: string,
    row: CcxtClass,
    url: string,
    events: SocketEvents,
    instruments: readonly Instrument[],
    restUrl: string | undefined,
  ) {
    this.#id = id
    this.#row = row
    this.#events = events
    this.#instruments = instruments
    this.#wsUrl = overrideOf(url, id)
    this.#restUrl = restUrl
    this.#generations = instruments.map(() => 0)
    this.#open().catch((error) => this.#end(foreignError(error)))
  }

  async #open(): Promise<void> {
    if (this.#row.refused !== undefined) throw new Error(this.#row.refused)
    const { default: loaded } = await this.#row.load()
    // ccxt's own declarations are looser than what is used of it.
    this.#make = loaded as CcxtConstructor
    if (this.#row.loadsMarkets === true) {
      this.#markets = await this.#listing()
    } else {
      const exchange = this.#exchange()
      this.#markets = this.#instruments.map((instrument) => marketOf(instrument, exchange))
    }
    if (this.#isEnded) return
    this.#timer = setInterval(() => this.#look(), LOOK_MS)
    this.#events.opened()
  }

  #listing(): Promise<readonly unknown[]> {
    const key = `${this.#id} ${this.#restUrl ?? ''}`
    let listing = listings.get(key)
    if (listing === undefined) {
      // A few requests, once: their usual distance would take longer than a connection may.
      const exchange = this.#exchange({ enableRateLimit: false })
      const fetch = exchange.fetch
      exchange.fetch = (url, ...values) => fetch.call(exchange, this.#redirectRest(url), ...values)
      listing = exchange.loadMarkets().then(Object.values)
      listing.catch(() => listings.delete(key))
      listings.set(key, listing)
    }
    return listing
  }

  #exchange(settings: object = {}): CcxtExchange {
    return new this.#make!({ uid: '', ...settings })
  }

  // -- from the feed

  send(text: string): void {
    if (this.#isEnded) return
    const message = JSON.parse(text) as CcxtMessage
    if (message.op === 'subscribe') {
      this.#limit = chosen(this.#row.depths, message.depth)
      this.#startMain()
    } else if (message.op === 'refresh') {
      this.#refresh(message.i)
    } else {
      this.#resync(message.i)
    }
  }

  /** Answered for all lanes: each looks after its own sockets. */
  ping(): void {
    queueMicrotask(() => this.alive())
  }

  #look(): void {
    const now = performance.now()
    const lateMs = Math.max(0, now - this.#lookedMs - 2 * LOOK_MS)
    this.#lookedMs = now
    for (const lane of [...this.#lanes]) if (!lane.isDead) lane.look(now, lateMs)
    for (const [lane, sinceMs] of [...this.#joining]) {
      if (now - sinceMs > JOIN_WITHIN_MS) this.#giveUp(lane, 'no book that is as new came in time')
    }
  }

  pause(): void {
    this.isPaused = true
  }

  resume(): void {
    if (!this.isPaused) return
    this.isPaused = false
    for (const lane of [...this.#lanes]) if (!lane.isDead) lane.resume()
  }

  terminate(): void {
    if (this.#isEnded) return
    this.#isEnded = true
    this.#disposeAll()
    queueMicrotask(() => this.#events.closed(1006, 'terminated'))
  }

  // -- from the lanes

  emit(frame: CcxtFrame): void {
    if (!this.#isEnded) this.#events.received(encoder.encode(JSON.stringify(frame)))
  }

  alive(): void {
    if (!this.#isEnded) this.#events.alive()
  }

  ended(lane: Lane, kind: 'closed' | 'limited', message: string): void {
    if (this.#isEnded || lane.isDead) return
    // Nothing hangs on it yet.
    if (this.#joining.has(lane)) return this.#giveUp(lane, message)
    if (kind === 'limited') {
      this.emit({ t: 'limited', m: message })
      return
    }
    const { places } = lane
    // The first one may serve nobody any more, while others have its symbols.
    if (lane !== this.#main || (places.length === 0 && this.#lanes.size > 1)) {
      this.#giveUp(lane, message)
      return
    }
    this.#end(message)
  }

  joins(lane: Lane, { index }: Place): void {
    this.#joining.delete(lane)
    this.#mute(index, lane)
  }

  #giveUp(lane: Lane, message: string): void {
    const { places } = lane
    this.#drop(lane)
    for (const { index: i, generation: g } of places) {
      this.emit({ t: 'lost', i, g, r: 'disconnect', m: message })
    }
  }

  split(places: readonly Place[]): void {
    this.#startLane(places, false)
  }

  // -- lanes

  #startMain(): void {
    const indexes = this.#instruments.map((_, index) => index)
    const batches = this.#row.batches === true && indexes.length > 1
    this.#main = this.#startLane(indexes.map((index) => this.#place(index)), batches)
  }

  #resync(index: number): void {
    this.#generations[index]!++
    this.#mute(index)
    this.#startLane([this.#place(index)], false)
  }

  /** Another lane beside the one that serves the symbol, to take over when it has come as far. */
  #refresh(index: number): void {
    this.#generations[index]!++
    const lane = this.#startLane([this.#place(index)], false, () => this.#positionOf(index))
    if (!lane.isDead) this.#joining.set(lane, performance.now())
  }

  #positionOf(index: number): CcxtPosition | undefined {
    for (const lane of this.#lanes) {
      const position = this.#joining.has(lane) ? undefined : lane.positionOf(index)
      if (position !== undefined) return position
    }
    return undefined
  }

  /** All lanes but this one forget the symbol; those that serve none any more end. */
  #mute(index: number, but?: Lane): void {
    for (const lane of [...this.#lanes]) {
      if (lane !== but && lane.mute(index)) this.#drop(lane)
    }
  }

  #place(index: number): Place {
    const generation = this.#generations[index]!
    return { index, instrument: this.#instruments[index]!, generation }
  }

  #startLane(
    places: readonly Place[],
    batches: boolean,
    succeeds?: () => CcxtPosition | undefined,
  ): Lane {
    const exchange = this.#exchange()
    exchange.setMarkets(this.#markets)
    const lane = new Lane(this, {
      row: this.#row,
      exchange,
      places,
      limit: this.#limit,
      batches,
      ...(succeeds === undefined ? {} : { succeeds }),
      redirectSocket: (url) => overrideEndpoint(url, this.#wsUrl),
      redirectRest: (url) => this.#redirectRest(url),
    })
    this.#lanes.add(lane)
    lane.start()
    return lane
  }

  #drop(lane: Lane): void {
    this.#lanes.delete(lane)
    this.#joining.delete(lane)
    if (lane === this.#main) this.#main = undefined
    lane.dispose()
  }

  #disposeAll(): void {
    clearInterval(this.#timer)
    for (const lane of [...this.#lanes]) this.#drop(lane)
  }

  #end(message: string): void {
    if (this.#isEnded) return
    this.#isEnded = true
    this.#disposeAll()
    this.#events.closed(1006, message)
  }

  #redirectRest(url: string): string {
    return overrideEndpoint(url, this.#restUrl)
  }
}

/** The smallest depth that covers the wish, else the largest there is. */
export function chosen(depths: readonly number[] | undefined, wanted: number): number | undefined {
  if (depths === undefined) return undefined
  return depths.find((depth) => wanted > 0 && depth >= wanted) ?? depths.at(-1)
}
