/** The REST side of a simulated exchange: weight, faults, and books that lag behind or run ahead. */
import type { Enforcement } from './enforcement.ts'
import type { ExchangeFaults } from './exchange-faults.ts'
import type { FrameHistory } from './frame-history.ts'
import type { Market } from './market.ts'
import type { Pace } from './pace.ts'
import type { Publisher } from './publisher.ts'
import type { Random } from './random.ts'
import { RestBudget } from './rest.ts'
import type { RestAnswer } from './rest.ts'
import type { ExchangeLimits, ExchangeOptions, ExchangeStats, RestBook } from './rules.ts'

const SYMBOL_PARAMETERS = ['symbol', 'pair', 'instId', 'product_id', 'symbols']

/** What the service works on; the exchange owns it. */
export interface Served {
  readonly limits: ExchangeLimits
  readonly markets: readonly Market[]
  /** Product indices by name. */
  readonly names: ReadonlyMap<string, number>
  readonly history: FrameHistory
  readonly stats: ExchangeStats
  readonly random: Random
  readonly faults: ExchangeFaults
  readonly enforcement: Enforcement
  readonly publisher: Publisher
  readonly pace: Pace
  /** A wrong book is noticed by its checksum. */
  readonly hasChecksum: boolean
  /** Levels a side of the smallest book on offer. */
  readonly leastLevels: number
}

/** How the exchange answers; see `ExchangeHabits`. */
export interface Answerer {
  answer(path: string, query: URLSearchParams, nowMs: number): RestAnswer | undefined
  weightOf(path: string, query: URLSearchParams): number
  restError(status: number, nowMs: number, retryAfterS: number): unknown
  restHeaders(usedWeight: number): Record<string, string>
  /** The market of this product is not at rest. */
  moves(product: number): boolean
  /** The number of a version, where it has one. */
  idOf(product: number, version: number): number | undefined
}

export class RestService {
  readonly #served: Served
  readonly #answerer: Answerer
  readonly #budget: RestBudget | undefined
  readonly #lag: { readonly older: number; readonly newer: number }

  constructor(options: ExchangeOptions, served: Served, answerer: Answerer) {
    const { weight } = served.limits
    this.#served = served
    this.#answerer = answerer
    this.#budget = weight === undefined ? undefined : new RestBudget(weight)
    this.#lag = options.restLag ?? { older: 8, newer: 2 }
  }

  /** One GET. Weight, faults and paths that do not exist are dealt with here. */
  get(path: string, query: URLSearchParams, nowMs: number): RestAnswer {
    const { stats, limits, enforcement } = this.#served
    stats.requests++
    const failure = this.#failure(query, nowMs)
    if (failure !== undefined) return failure
    const weight = this.#answerer.weightOf(path, query)
    const refusal = this.#budget?.refusal(weight, nowMs)
    if (refusal !== undefined) {
      const { count, perMs } = limits.weight!
      const detail = `GET ${path}: told to wait, or over ${count} weight in ${perMs} ms`
      if (refusal.isViolation) enforcement.violate('weight', detail, undefined, nowMs)
      return this.#refused(refusal.status, refusal.retryAfterS, nowMs)
    }
    const answer = this.#answerer.answer(path, query, nowMs) ??
      { status: 404, body: { error: 'NOT_FOUND', message: `no GET ${path}` } }
    return { ...answer, headers: { ...this.#headers(nowMs), ...answer.headers } }
  }

  /**
   * A book for an answer. As in reality it may be older than what was sent, or newer: then the
   * market has moved and the sockets hear of it with the next tick.
   */
  book(product: number, depth: number, nowMs: number): RestBook {
    const { markets, faults, history, hasChecksum } = this.#served
    const market = markets[product]!
    const version = this.#version(product, nowMs)
    const rows = market.rowsAt(version, depth)!
    const fault = faults.struck('wrong-snapshot', 0, product, nowMs)
    const variant = fault?.spec.variant ?? 'stale'
    let isMissing = false
    if (fault !== undefined) {
      const { bids, asks } = rows
      const isPossible = variant === 'missing' ? bids.length > 2 : bids.length * asks.length > 0
      if (!isPossible) fault.refund()
      else if (variant === 'missing') {
        bids.splice(2, 1)
        isMissing = true
      } else {
        bids.unshift([asks[0]![0], Math.max(1, Math.round(market.product.meanLots))])
        if (bids.length > depth) bids.pop()
      }
      if (isPossible) faults.declare('wrong-snapshot', variant, undefined, product, version)
    }
    this.#shorten(rows, depth, product, version, nowMs)
    const id = this.#answerer.idOf(product, version)
    if (id !== undefined) history.snapshotDelivered(0, product, id, isMissing && !hasChecksum)
    return { market, version, bids: rows.bids, asks: rows.asks }
  }

  /** A fault may leave less of a book than was asked for, of each side that goes on. */
  #shorten(
    { bids, asks }: { bids: unknown[]; asks: unknown[] },
    depth: number,
    product: number,
    version: number,
    nowMs: number,
  ): void {
    const { faults, leastLevels, random } = this.#served
    const goesOn = (side: unknown[]) => Math.min(depth, side.length) > leastLevels
    if (!goesOn(bids) && !goesOn(asks)) return
    if (faults.struck('rest-short', 0, product, nowMs) === undefined) return
    for (const side of [bids, asks].filter(goesOn)) {
      side.length = leastLevels + random.below(side.length - leastLevels)
    }
    faults.declare('rest-short', '', undefined, product, version)
  }

  /** Which version a request of now gets; it may have to be made first. */
  #version(product: number, nowMs: number): number {
    const { markets, faults, random, publisher, pace } = this.#served
    const market = markets[product]!
    const lag = faults.struck('rest-lag', 0, product, nowMs)
    const oldest = Math.max(0, market.oldestVersion)
    if (lag !== undefined) {
      const version = Math.max(oldest, market.version - 100 - random.below(400))
      faults.declare('rest-lag', '', undefined, product, version)
      return version
    }
    const { older, newer } = this.#lag
    const draw = random.next()
    if (draw < 0.3 && older > 0) {
      return Math.max(oldest, market.version - 1 - random.below(older))
    }
    if (draw < 0.5 && newer > 0 && this.#answerer.moves(product)) {
      const steps = 1 + random.below(newer)
      publisher.stepUnheard(product, steps, nowMs)
      for (let i = 0; i < steps; i++) pace.ahead()
    }
    return market.version
  }

  /** What a fault makes of a request. */
  #failure(query: URLSearchParams, nowMs: number): RestAnswer | undefined {
    const { faults } = this.#served
    const fault = faults.struck('rest-error', 0, this.#asked(query), nowMs)
    if (fault === undefined) return undefined
    const status = fault.spec.variant ?? '429'
    faults.declare('rest-error', status, undefined, undefined, -1)
    if (status === 'timeout') return { status: 0, body: undefined }
    if (status === '429' || status === '418') {
      const forMs = fault.spec.delayMs ?? (status === '418' ? 10_000 : 2_000)
      const told = Number(status) as 418 | 429
      this.#budget?.tell(told, nowMs, forMs)
      return this.#refused(told, Math.ceil(forMs / 1000), nowMs)
    }
    return { status: Number(status), body: this.#answerer.restError(Number(status), nowMs, 0) }
  }

  /** The product that a request is about; -1: none, or several. */
  #asked(query: URLSearchParams): number {
    for (const name of SYMBOL_PARAMETERS) {
      const value = query.get(name)
      if (value !== null) return this.#served.names.get(value) ?? -1
    }
    return -1
  }

  #refused(status: 418 | 429, retryAfterS: number, nowMs: number): RestAnswer {
    this.#served.stats.requestsRefused++
    return {
      status,
      body: this.#answerer.restError(status, nowMs, retryAfterS),
      headers: { ...this.#headers(nowMs), 'retry-after': String(retryAfterS) },
    }
  }

  #headers(nowMs: number): Record<string, string> {
    return this.#answerer.restHeaders(this.#budget?.used(nowMs) ?? 0)
  }
}
