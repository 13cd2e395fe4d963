/**
 * What one simulated exchange has of its own: what it must say, and what it may do in another way
 * than most. `SimulatedExchange` asks; a twin answers by overriding.
 */
import type { BookUpdate } from './book-update.ts'
import { Connection } from './connection.ts'
import type { Subscription } from './connection.ts'
import { SimulatedMarkets } from './markets.ts'
import { hashText, Random } from './random.ts'
import type { RestAnswer } from './rest.ts'
import type { ExchangeOptions, ExchangeRules } from './rules.ts'

export abstract class ExchangeHabits<C extends Connection> extends SimulatedMarkets {
  readonly rules: ExchangeRules
  /** Seeded, for whatever an exchange leaves to chance. */
  protected readonly random: Random
  protected readonly unknownProduct: 'refuse' | 'skip' | undefined
  readonly #overLimit: 'error' | 'disconnect'

  constructor(rules: ExchangeRules, options: ExchangeOptions) {
    super(options, rules.listing, rules.aliases)
    this.rules = rules
    this.random = new Random(hashText('exchange', options.seed ?? 1))
    this.unknownProduct = options.unknownProduct
    this.#overLimit = options.overLimit ?? 'error'
  }

  // ---- what an exchange must say

  /** One client message that kept to the limits. */
  protected abstract message(connection: C, text: string, nowMs: number): void

  /**
   * Once per frame of a stream: what all its listeners get, or the part of it that they share. The
   * bytes may be a view of a buffer that the next call overwrites.
   */
  protected abstract bookFrame(update: BookUpdate): Uint8Array

  /** One GET; undefined when there is no such path. */
  protected abstract answer(
    path: string,
    query: URLSearchParams,
    nowMs: number,
  ): RestAnswer | undefined

  // ---- what an exchange may say

  /** Keeps more than `Connection` does. */
  protected newConnection(id: number, nowMs: number, path: string, query: URLSearchParams): C {
    return new Connection(id, nowMs, path, query) as C
  }

  /** False: nothing is served at this address. */
  protected accepts(_path: string): boolean {
    return true
  }

  /** A client connected: what the exchange says unasked. */
  protected greet(_connection: C, _nowMs: number): void {}

  /** `connection.timerMs` has come (it was `dueMs`); it is Infinity again unless set here. */
  protected timer(_connection: C, _dueMs: number, _nowMs: number): void {}

  /** The frame of one listener, made of what they share; the receiver owns the bytes. */
  protected stamped(shared: Uint8Array, _subscription: Subscription, _nowMs: number): Uint8Array {
    return shared.slice()
  }

  /**
   * Sends an update or snapshot to one listener. An exchange that spells it in several frames says
   * with each `deliver` which version a client has after it.
   */
  protected publishTo(subscription: Subscription, shared: Uint8Array, update: BookUpdate): void {
    const bytes = this.stamped(shared, subscription, update.nowMs)
    this.deliver(subscription, bytes, update.version, update.nowMs)
  }

  /** What a client will call the nonce of the next frame of this subscription, as of `version`. */
  protected nonce(subscription: Subscription, version: number): number {
    const { stream, connection } = subscription
    return this.ids === undefined ? connection.sequence : this.ids[stream.product]!.last(version)
  }

  /** One of the exchange's own faults strikes; false: it could not, now. */
  protected ownFault(_kind: string, _connection: C, _nowMs: number): boolean {
    return false
  }

  /** The product is gone: what a listener is told of it. It was unsubscribed already. */
  protected delistedTo(_subscription: Subscription, _nowMs: number): void {}

  /** Over the message limit. */
  protected overMessages(connection: C, nowMs: number): void {
    this.refuse(connection, JSON.stringify({ error: 'rate limit exceeded' }), nowMs)
    if (this.endsOverLimit) this.close(connection, 1008, 'rate limit exceeded')
  }

  /** Acknowledgements take part in the connection's sequence. */
  protected get numbersAcks(): boolean {
    return true
  }

  /** True: this exchange ends connections that say too much. */
  protected get endsOverLimit(): boolean {
    return this.#overLimit === 'disconnect'
  }

  protected weightOf(_path: string, _query: URLSearchParams): number {
    return 1
  }

  /** The body of a REST refusal or failure. */
  protected restError(status: number, _nowMs: number, _retryAfterS: number): unknown {
    return { error: `status ${status}` }
  }

  /** Headers of every REST answer. */
  protected restHeaders(_usedWeight: number): Record<string, string> {
    return {}
  }

  // ---- what the above say it with

  /** Sends an error now, outside of any sequence. */
  protected abstract refuse(connection: C, text: string, nowMs: number): void

  /** Sends one frame of a book, after which the client has this version of it. */
  protected abstract deliver(
    subscription: Subscription,
    bytes: Uint8Array,
    version: number,
    nowMs: number,
  ): void

  protected abstract close(connection: C, code: number, reason: string): void
}
