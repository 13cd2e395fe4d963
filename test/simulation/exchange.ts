/**
 * The simulated Coinbase of `src/simulator`, brought to life by the virtual clock, plus what it
 * does not do of itself: answer subscriptions late, with an error, or never.
 */
import { CoinbaseExchange } from '../../src/simulator/coinbase.ts'
import type { ExchangeOptions } from '../../src/simulator/exchange.ts'
import type { Timer } from '../../src/core/environment.ts'
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
const ERROR_FRAME_BYTE = '{"type":"error"'.charCodeAt(2)
const encoder = new TextEncoder()

interface Line {
  readonly socket: SimulatedSocket
  /** Number of the next frame. */
  sequence: number
  /** Snapshots wait until then. */
  slowUntilUs: number
}

/** Runs the exchange; what it sends goes to the socket of each connection. */
export class ExchangeHost {
  subscribeFaults: SubscribeFaults = NO_SUBSCRIBE_FAULTS
  readonly exchange: CoinbaseExchange
  readonly #clock: VirtualClock
  readonly #random: Random
  readonly #tally: Tally
  readonly #lines = new Map<number, Line>()
  /** Socket -> connection of the exchange. */
  readonly #connections = new Map<number, number>()
  /** Wire symbol -> the socket that subscribed it last. */
  readonly #subscribers = new Map<string, number>()
  readonly #texts = new Map<string, string>()
  #timer: Timer | undefined
  #timerUs = Infinity
  #excused = 0

  constructor(clock: VirtualClock, random: Random, tally: Tally, options: ExchangeOptions) {
    this.#clock = clock
    this.#random = random
    this.#tally = tally
    this.exchange = new CoinbaseExchange(options, {
      frame: (connection, bytes) => this.#frame(connection, bytes),
      close: (connection, code, reason) => this.#close(connection, code, reason),
      ready: (connection) => (this.#lines.get(connection)?.slowUntilUs ?? 0) <= clock.timeUs,
    })
    this.#tick()
  }

  accept(socket: SimulatedSocket): ServerEnd | undefined {
    const connection = this.exchange.connect(this.#nowMs())
    if (connection < 0) return undefined
    this.#lines.set(connection, { socket, sequence: 0, slowUntilUs: 0 })
    this.#connections.set(socket.id, connection)
    this.#schedule()
    return {
      received: (text) => this.#received(connection, text),
      closed: () => {
        this.exchange.disconnected(connection)
        this.#lines.delete(connection)
      },
    }
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

  /** The exchange's connection behind a socket. */
  connectionOf(socket: number): number {
    return this.#connections.get(socket) ?? -1
  }

  /** The socket that subscribed the product last; -1: none yet. */
  subscriberOf(wireSymbol: string): number {
    return this.#subscribers.get(wireSymbol) ?? -1
  }

  /** The true book as of frame `nonce` of `connection`, as `bookText`; undefined: there was none. */
  truthAt(
    wireSymbol: string,
    connection: number,
    nonce: number,
    depth: number,
  ): string | undefined {
    const version = this.exchange.versionAtNonce(wireSymbol, connection, nonce)
    return version < 0 ? undefined : this.#textAt(wireSymbol, version, depth)
  }

  truthNow(wireSymbol: string, depth: number): string {
    return this.#textAt(wireSymbol, this.exchange.version(wireSymbol), depth)!
  }

  /** The exchange does not send this product on that connection, and did not say so. */
  isSilent(wireSymbol: string, connection: number): boolean {
    return this.exchange.declared.some((fault) =>
      fault.kind === 'stall' && fault.connection === connection && fault.wireSymbol === wireSymbol
    )
  }

  /** Rules of the exchange that the worker broke, apart from what the network made it break. */
  get violations(): number {
    return this.exchange.stats.violations - this.#excused
  }

  #textAt(wireSymbol: string, version: number, depth: number): string | undefined {
    const key = `${wireSymbol} ${version}`
    let text = this.#texts.get(key)
    if (text === undefined) {
      const book = this.exchange.bookAt(wireSymbol, version, depth === 0 ? Infinity : depth)
      if (book === undefined) return undefined
      text = bookText(book.bids, book.asks)
      this.#texts.set(key, text)
    }
    return text
  }

  #nowMs(): number {
    return START_MS + this.#clock.timeUs / 1000
  }

  #tick(): void {
    this.exchange.tick(this.#nowMs())
    this.#timer?.cancel()
    this.#timerUs = Infinity
    this.#schedule()
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
    const isBook = text.includes('"subscribe"') && text.includes('"level2"')
    if (isBook) {
      const wireSymbols: string[] = JSON.parse(text).product_ids
      for (const wireSymbol of wireSymbols) this.#subscribers.set(wireSymbol, line.socket.id)
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
        const product = wireSymbols[0]!
        const message = random.pick([
          `${product} is not a valid product`,
          'rate limit exceeded',
          'internal error',
        ])
        line.socket.transmit(encoder.encode(JSON.stringify({ type: 'error', message })), -1)
        return
      }
      if (random.chance(slow)) {
        this.#tally.count('snapshot slow')
        line.slowUntilUs = this.#clock.timeUs + random.int(100_000, 14_000_000)
      }
    }
    this.exchange.receive(connection, text, this.#nowMs())
    this.#tick()
  }

  #frame(connection: number, bytes: Uint8Array): void {
    const line = this.#lines.get(connection)
    if (line === undefined) return
    const numbered = bytes[2] !== ERROR_FRAME_BYTE
    line.socket.transmit(bytes, numbered ? line.sequence : -1)
    if (numbered) line.sequence++
  }

  #close(connection: number, code: number, reason: string): void {
    const line = this.#lines.get(connection)
    if (line === undefined) return
    this.#tally.trace(() => `exchange closes socket ${line.socket.id}: ${reason}`)
    if (line.socket.disturbed && reason.startsWith('no subscription')) this.#excused++
    this.#lines.delete(connection)
    line.socket.end(code, reason)
  }
}
