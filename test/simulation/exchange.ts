/**
 * One of the simulated exchanges of `src/simulator`, brought to life by the virtual clock, plus what
 * it does not do of itself: answer subscriptions late or never.
 */
import type { HttpResponse, Timer } from '../../src/core/environment.ts'
import type { ExchangeOptions, SimulatedExchange } from '../../src/simulator/exchange.ts'
import type { BookTruth } from '../../src/simulator/market.ts'
import type { Product } from '../../src/simulator/products.ts'
import type { Twin } from '../../src/simulator/twin.ts'
import type { Random, VirtualClock } from './clock.ts'
import { bookText } from './consumer.ts'
import type { ServerEnd, SimulatedSocket } from './network.ts'
import type { Tally } from './tally.ts'

/** Chances per subscribe message of a client. */
export interface SubscribeFaults {
  /** Answered with an error instead. */
  refused: number
  /** Never answered. */
  ignored: number
  /** The snapshot comes seconds later. */
  slow: number
}

export const NO_SUBSCRIBE_FAULTS: SubscribeFaults = { refused: 0, ignored: 0, slow: 0 }

/** The exchange has a clock of its own, which does not step. */
const START_MS = 1_795_000_000_000
/** While everything recovers, books that are known by changes alone need some, this far apart. */
const NUDGE_US = 5e6
const encoder = new TextEncoder()

/** Of the exchanges that count by connection: is this frame in the sequence? */
const NUMBERED: Readonly<Record<string, (frame: Uint8Array) => boolean>> = {
  bitfinex: (frame) => frame[0] === '['.charCodeAt(0),
  coinbase: (frame) => frame[2] !== '{"type":"error"'.charCodeAt(2),
}

/** Errors that answer a whole subscribe message, where the exchange's own fault is not enough. */
const REFUSALS: Readonly<Record<string, (wireSymbol: string) => readonly string[]>> = {
  coinbase: (wireSymbol) =>
    [`${wireSymbol} is not a valid product`, 'rate limit exceeded', 'internal error'].map(
      (message) => JSON.stringify({ type: 'error', message }),
    ),
}

/** Rules that a client breaks when what it says, or hears, does not arrive. */
const SILENCE_RULES = new Set(['subscribe-within', 'pong', 'idle'])
/** Rules that a client breaks when it hears late what it must know. */
const NEWS_RULES = new Set(['maintenance'])
/** Rules of an address, which a worker that was just started cannot know to be nearly spent. */
const ADDRESS_RULES = new Set(['connects', 'weight'])

interface Line {
  readonly socket: SimulatedSocket
  /** Number of the next frame. */
  sequence: number
  /** Snapshots wait until then. */
  slowUntilUs: number
}

/** The texts of all versions of one product so far, for books that nothing numbers. */
class Versions {
  readonly byText = new Map<string, number[]>()
  next = 0
}

/** Runs the exchange; what it sends goes to the socket of each connection. */
export class ExchangeHost {
  subscribeFaults: SubscribeFaults = NO_SUBSCRIBE_FAULTS
  readonly exchange: SimulatedExchange
  readonly #twin: Twin
  readonly #clock: VirtualClock
  readonly #random: Random
  readonly #tally: Tally
  readonly #lines = new Map<number, Line>()
  /** Socket -> connection of the exchange. */
  readonly #connections = new Map<number, number>()
  /** Connection -> socket, also of those that are gone. */
  readonly #sockets = new Map<number, SimulatedSocket>()
  /** Connection -> unified symbols that it has subscribed, in vain or not. */
  readonly #asked = new Map<number, Set<string>>()
  readonly #texts = new Map<string, string>()
  readonly #versions = new Map<string, Versions>()
  /** By symbol: when its book moved, and to which version. */
  readonly #moves = new Map<string, { readonly us: number[]; readonly version: number[] }>()
  /** When each fault that the exchange declared struck. */
  readonly #declaredUs: number[] = []
  #timer: Timer | undefined
  #timerUs = Infinity
  #seen = 0
  #broken: string | undefined
  #startedUs = -Infinity

  constructor(
    clock: VirtualClock,
    random: Random,
    tally: Tally,
    twin: Twin,
    options: ExchangeOptions,
  ) {
    this.#clock = clock
    this.#random = random
    this.#tally = tally
    this.#twin = twin
    this.exchange = twin.create(options, {
      frame: (connection, bytes) => this.#frame(connection, bytes),
      close: (connection, code, reason) => this.#close(connection, code, reason),
      ready: (connection) => (this.#lines.get(connection)?.slowUntilUs ?? 0) <= clock.timeUs,
      ping: (connection) => {
        this.#lines.get(connection)?.socket.pingWorker(() => {
          this.exchange.ponged(connection, this.#nowMs())
          this.#tick()
        })
      },
    })
    this.#tick()
  }

  accept(socket: SimulatedSocket): ServerEnd | undefined {
    const { pathname, search } = new URL(socket.url)
    const connection = this.exchange.connect(this.#nowMs(), pathname + search)
    if (connection < 0) {
      if (connection === -2) this.#tally.violation(`nothing is served at ${socket.url}`)
      return undefined
    }
    this.#lines.set(connection, { socket, sequence: 0, slowUntilUs: 0 })
    this.#connections.set(socket.id, connection)
    this.#sockets.set(connection, socket)
    this.#schedule()
    return {
      received: (text) => this.#received(connection, text),
      pinged: () => {
        this.exchange.pinged(connection, this.#nowMs())
        this.#tick()
      },
      closed: () => {
        this.exchange.disconnected(connection)
        this.#lines.delete(connection)
      },
    }
  }

  /** One GET, answered now; undefined: never. */
  rest(url: string): HttpResponse | undefined {
    const { pathname, searchParams } = new URL(url)
    const { status, body, headers } = this.exchange.rest(pathname, searchParams, this.#nowMs())
    this.#tick()
    if (status === 0) return undefined
    const after = Number(headers?.['retry-after'])
    return {
      status,
      body: JSON.stringify(body),
      ...(Number.isFinite(after) ? { retryAfterMs: after * 1000 } : {}),
    }
  }

  /** A worker begins, and knows nothing of what was said from this address before. */
  workerStarted(): void {
    this.#startedUs = this.#clock.timeUs
  }

  /** Every fault of the exchange ends; what it had stopped sending it still does not send. */
  heal(): void {
    this.subscribeFaults = NO_SUBSCRIBE_FAULTS
    this.exchange.clearFaults()
    for (const line of this.#lines.values()) line.slowUntilUs = 0
  }

  /** The market stands still from now on. */
  pause(): void {
    this.exchange.paused = true
    this.#tick()
  }

  /** It stands still, but moves by one version now and then. */
  nudge(): void {
    this.#clock.after(NUDGE_US, () => {
      for (const { symbol } of this.exchange.products) {
        if (!this.exchange.isDelisted(symbol)) this.exchange.advanceOf(symbol, 1, this.#nowMs())
      }
      this.#tick()
      this.nudge()
    })
  }

  /** The exchange's connection behind a socket. */
  connectionOf(socket: number): number {
    return this.#connections.get(socket) ?? -1
  }

  /** The version of the book at that time; -1: there was none yet. */
  versionAsOf(symbol: string, us: number): number {
    const moves = this.#moves.get(symbol)
    if (moves === undefined) return -1
    let i = moves.us.length - 1
    while (i >= 0 && moves.us[i]! > us) i--
    return i < 0 ? -1 : moves.version[i]!
  }

  /** The version that frame `nonce` of `connection` led to; -1: none. */
  versionAt(symbol: string, connection: number, nonce: number): number {
    return this.exchange.versionAtNonce(symbol, connection, nonce)
  }

  /** The first version not before `from` with this text of the best `depth` levels; -1: none. */
  versionOf(symbol: string, text: string, depth: number, from: number): number {
    const key = `${symbol} ${depth}`
    let versions = this.#versions.get(key)
    if (versions === undefined) {
      versions = new Versions()
      this.#versions.set(key, versions)
    }
    const now = this.exchange.version(symbol)
    for (; versions.next <= now; versions.next++) {
      const book = this.bookAt(symbol, versions.next, depth)
      if (book === undefined) continue
      const found = versions.byText.get(bookText(book.bids, book.asks))
      if (found !== undefined) found.push(versions.next)
      else versions.byText.set(bookText(book.bids, book.asks), [versions.next])
    }
    return versions.byText.get(text)?.find((version) => version >= from) ?? -1
  }

  bookAt(symbol: string, version: number, depth: number): BookTruth | undefined {
    return this.exchange.bookAt(symbol, version, depth === 0 ? Infinity : depth)
  }

  /** The best levels of a version, as `bookText`; undefined: there was no such version. */
  textAt(symbol: string, version: number, depth: number): string | undefined {
    if (version < 0) return undefined
    const key = `${symbol} ${version} ${depth}`
    let text = this.#texts.get(key)
    if (text === undefined) {
      const book = this.bookAt(symbol, version, depth)
      if (book === undefined) return undefined
      text = bookText(book.bids, book.asks)
      this.#texts.set(key, text)
    }
    return text
  }

  /** The exchange does not send this product on that connection, and did not say so. */
  isSilent(symbol: string, connection: number): boolean {
    const wireSymbol = this.exchange.product(symbol)!.wireSymbol
    return this.exchange.declared.some((fault) =>
      fault.kind === 'stall' && fault.connection === connection && fault.wireSymbol === wireSymbol
    )
  }

  /** What is wrong with this book was sent so, and nothing that is still to come will show it. */
  isHopeless(symbol: string, connection: number, nonce: number): boolean {
    return this.#twin.rules.hasChecksum !== true &&
      this.exchange.isTainted(symbol, connection, nonce)
  }

  /** The first rule of the exchange that the worker broke, and was not made to by anything else. */
  get broken(): string | undefined {
    const { violations } = this.exchange
    for (; this.#seen < violations.length && this.#broken === undefined; this.#seen++) {
      const { rule, detail, connection } = violations[this.#seen]!
      const socket = this.#sockets.get(connection)
      if (SILENCE_RULES.has(rule) && socket?.disturbed === true) continue
      if (NEWS_RULES.has(rule) && socket?.hindered === true) continue
      if (rule === 'subscribe-within' && this.#hasNothingToAskFor(connection)) continue
      if (ADDRESS_RULES.has(rule) && this.#isNewHere(rule)) continue
      this.#broken = `${rule}: ${detail}`
    }
    return this.#broken
  }

  /** All that this connection ever asked for is delisted. */
  #hasNothingToAskFor(connection: number): boolean {
    const asked = this.#asked.get(connection)
    return asked !== undefined && [...asked].every((symbol) => this.exchange.isDelisted(symbol))
  }

  #isNewHere(rule: string): boolean {
    const { connects, weight } = this.exchange.limits
    const { perMs = 0 } = (rule === 'connects' ? connects : weight) ?? {}
    return this.#clock.timeUs - this.#startedUs < perMs * 1000
  }

  #nowMs(): number {
    return START_MS + this.#clock.timeUs / 1000
  }

  #tick(): void {
    this.exchange.tick(this.#nowMs())
    for (const { symbol } of this.exchange.products) this.#note(symbol)
    const { declared } = this.exchange
    while (this.#declaredUs.length < declared.length) this.#declaredUs.push(this.#clock.timeUs)
    this.#timer?.cancel()
    this.#timerUs = Infinity
    this.#schedule()
  }

  #note(symbol: string): void {
    const version = this.exchange.version(symbol)
    let moves = this.#moves.get(symbol)
    if (moves === undefined) this.#moves.set(symbol, moves = { us: [], version: [] })
    if (moves.version.at(-1) === version) return
    moves.us.push(this.#clock.timeUs)
    moves.version.push(version)
  }

  /** One timer for whatever the exchange has to do next. */
  #schedule(): void {
    let dueUs = (this.exchange.nextDueMs() - START_MS) * 1000
    const now = this.#clock.timeUs
    // A snapshot that is held back is due when it may go.
    if (dueUs <= now) {
      dueUs = now
      for (const line of this.#lines.values()) {
        if (line.slowUntilUs > now) dueUs = now + 10_000
      }
    }
    if (dueUs >= this.#timerUs || dueUs === Infinity) return
    this.#timer?.cancel()
    this.#timerUs = dueUs
    // Times in ms since 1970 are no finer than this.
    const delayUs = Math.max(10, Math.ceil(dueUs - now))
    this.#timer = this.#clock.after(delayUs, () => this.#tick())
  }

  #received(connection: number, text: string): void {
    const line = this.#lines.get(connection)
    if (line === undefined) return
    const { refused, ignored, slow } = this.subscribeFaults
    const random = this.#random
    const products = this.#subscribed(text)
    const asked = this.#asked.get(connection) ?? new Set()
    this.#asked.set(connection, asked)
    for (const { symbol } of products) asked.add(symbol)
    const product = products[0]?.wireSymbol
    if (product !== undefined) {
      const isIgnored = random.chance(ignored)
      const isRefused = !isIgnored && random.chance(refused)
      if (isIgnored) {
        this.#tally.count('subscription ignored')
        line.socket.disturbed = true
        return
      }
      if (isRefused) {
        this.#tally.count('subscription refused')
        line.socket.disturbed = true
        const refusals = REFUSALS[this.#twin.rules.exchange]?.(product)
        if (refusals !== undefined) {
          line.socket.transmit(encoder.encode(random.pick(refusals)), -1)
          return
        }
        this.exchange.inject({ kind: 'refuse', connection })
      } else if (random.chance(slow)) {
        this.#tally.count('snapshot slow')
        line.slowUntilUs = this.#clock.timeUs + random.int(100_000, 14_000_000)
      }
    }
    this.exchange.receive(connection, text, this.#nowMs())
    this.#tick()
  }

  /** The products whose books a message subscribes to. */
  #subscribed(text: string): readonly Product[] {
    const lower = text.toLowerCase()
    if (!lower.includes('subscribe') || lower.includes('unsubscribe')) return []
    return this.exchange.products.filter(({ wireSymbol }) =>
      lower.includes(wireSymbol.toLowerCase())
    )
  }

  #frame(connection: number, bytes: Uint8Array): void {
    const line = this.#lines.get(connection)
    if (line === undefined) return
    const numbered = NUMBERED[this.#twin.rules.exchange]?.(bytes) ?? false
    line.socket.transmit(bytes, numbered ? line.sequence : -1)
    if (numbered) line.sequence++
  }

  #close(connection: number, code: number, reason: string): void {
    const line = this.#lines.get(connection)
    if (line === undefined) return
    this.#tally.trace(() => `exchange closes socket ${line.socket.id}: ${reason}`)
    this.#lines.delete(connection)
    line.socket.end(code, reason)
  }
}
