/**
 * What a strategy and obfeed promise each other. Types only, without imports: this text is what
 * `obfeed strategy init` writes beside a user's file.
 *
 * Prices and sizes as text are exact decimals; as numbers they are doubles for signals. Times in
 * `Us` are integer microseconds since 1970.
 */

/** Exchange and symbol: `coinbase:ETH/USD`. */
export type BookRef = `${string}:${string}`

/** What JSON can say. */
export type Json = null | boolean | number | string | readonly Json[] | {
  readonly [key: string]: Json
}

export interface Strategy<P extends object> {
  /** `[a-z0-9-]{1,32}`. */
  readonly name: string
  /** Defaults; `--params` changes values, not keys or types. */
  readonly params: P
  books(params: P): readonly BookRef[]
  setup(ctx: Context, params: P): Handlers
}

/** All synchronous: a handler that returns a promise counts as one that throws. */
export interface Handlers {
  /** A proven book changed; `skipped` events since the last call of this book were not shown. */
  onBook?(book: Book, skipped: number): undefined
  /** Its wire reasons, and `gap`, `stale` of the reader. The book is not to be had until `onBook`. */
  onInvalid?(ref: BookRef, reason: string): undefined
  onTimer?(name: string): undefined
  /** Each version once, in order. */
  onOrder?(order: Order): undefined
  /** Before the `onOrder` it causes. */
  onFill?(fill: Fill): undefined
  onStop?(): undefined
}

/** A view, valid during the call: nothing is copied. */
export interface Book {
  readonly ref: BookRef
  readonly epoch: number
  readonly seq: number
  /** The exchange's sequence; text beyond 2^53. */
  readonly nonce: number | string | undefined
  /** Exchange time of the last event in ms. */
  readonly timestamp: number | undefined
  readonly receivedUs: number
  /** Since the exchange last spoke of this book. */
  readonly ageUs: number
  /** `sequence`, `checksum`, `both` or `none`: how a loss would be noticed. */
  readonly proof: string
  readonly bids: Side
  readonly asks: Side
}

/** Levels of one side, the best one is 0. Behind the last one prices and sizes are NaN. */
export interface Side {
  readonly count: number
  price(i: number): number
  size(i: number): number
  /** Exact price and size; empty texts behind the last level. */
  text(i: number): readonly [price: string, size: string]
  /** Our resting size inside `size(i)`; 0 on paper, where our orders are not in the book. */
  own(i: number): number
}

export interface Context {
  readonly clock: Clock
  readonly books: {
    /** Undefined: not proven, or stale. */
    get(ref: BookRef): Book | undefined
  }
  readonly orders: Orders
  /** Exact, signed, from our fills. */
  position(ref: BookRef): string
  market(ref: BookRef): Market
  /** In `setup` only: a signal that is fed with every event of the book, before `onBook`. */
  use<S>(ref: BookRef, signal: Signal<S>): S
  /** Published to `<strategy>-signals`. */
  signal(name: string, value: number, ref?: BookRef): void
  /** Uniform in [0, 1), the same for the same seed. */
  random(): number
  readonly state: State
  log(text: string, fields?: object): void
}

export interface Clock {
  nowUs(): number
  /** `onTimer(name)` each `ms`; a timer of the same name is replaced. */
  every(ms: number, name: string): void
  after(ms: number, name: string): void
  cancel(name: string): void
}

export interface Orders {
  /** At once, `intent`, or `refused` with a code in `reason`. */
  submit(request: OrderRequest): Order
  cancel(id: string): void
  cancelAll(ref?: BookRef): void
  /** Not in an end state, oldest first. */
  open(ref?: BookRef): readonly Order[]
}

/** Survives a reload and a restart. Values are copied as JSON. */
export interface State {
  get<T extends Json>(key: string): T | undefined
  set(key: string, value: Json): void
}

export interface OrderRequest {
  readonly book: BookRef
  readonly side: 'buy' | 'sell'
  /** Text must lie on the tick; a number is rounded away from the market (buy down, sell up). */
  readonly price: string | number
  /** Text must lie on the step; a number is rounded down. */
  readonly size: string | number
  /** `GTC` unless given. */
  readonly tif?: 'GTC' | 'IOC' | 'FOK'
  readonly postOnly?: boolean
  readonly reduceOnly?: boolean
  readonly tag?: string
}

export type OrderState =
  | 'refused'
  | 'intent'
  | 'sent'
  | 'open'
  | 'partial'
  | 'canceling'
  | 'unknown'
  | 'filled'
  | 'canceled'
  | 'expired'
  | 'rejected'
  | 'absent'

/** One version of an order; never changes. */
export interface Order {
  readonly id: string
  /** Version, from 1. */
  readonly n: number
  readonly state: OrderState
  /** Of a refusal its code and text, of other ends what the exchange said. */
  readonly reason: string | undefined
  readonly exchangeId: string | undefined
  readonly book: BookRef
  readonly side: 'buy' | 'sell'
  readonly price: string
  readonly size: string
  readonly filled: string
  readonly tif: 'GTC' | 'IOC' | 'FOK'
  readonly postOnly: boolean
  readonly reduceOnly: boolean
  readonly tag: string | undefined
  /** On paper: estimated size before it at its price; undefined while it does not rest. */
  readonly ahead: number | undefined
  /** The book it was decided on. */
  readonly epoch: number
  readonly seq: number
  readonly bookUs: number
  readonly decidedUs: number
  readonly sentUs: number | undefined
  /** When the answer that made this version came. */
  readonly answeredUs: number | undefined
}

export interface Fill {
  /** Id of the order. */
  readonly order: string
  /** The exchange's id of the trade: one fill each. */
  readonly trade: string
  /** Of this order, from 1. */
  readonly n: number
  readonly book: BookRef
  readonly side: 'buy' | 'sell'
  readonly price: string
  readonly size: string
  /** In quote unless `feeCurrency` says otherwise; negative is a rebate. */
  readonly fee: string
  readonly feeCurrency: string
  readonly liquidity: 'maker' | 'taker'
  /** Exchange time. */
  readonly timestampUs: number
  readonly receivedUs: number
  /** Position of the book after it, exact, signed. */
  readonly position: string
  readonly tag: string | undefined
}

/** What the exchange says of a market. All exact decimals. */
export interface Market {
  readonly ref: BookRef
  readonly base: string
  readonly quote: string
  readonly tick: string
  readonly step: string
  readonly minSize: string
  readonly minCost: string
  /** Parts of the traded amount: `0.001` is 10 bps; negative is a rebate. */
  readonly fees: { readonly maker: string; readonly taker: string }
  /** `1` for spot. */
  readonly contractSize: string
  /** A derivative: `reduceOnly` is possible. */
  readonly contract: boolean
  /** Settled in base: cannot be traded here. */
  readonly inverse?: boolean
}

/** A signal over the stream of one book; `run` begins one. */
export interface Signal<S> {
  run(): SignalRun<S>
}

export interface SignalRun<S> {
  readonly value: S
  /** The book was loaded (start, gap, new epoch): what lies before it does not connect. */
  restart(book: Book): undefined
  /** One event was applied. */
  update(book: Book): undefined
}

/** Price and what was too much for the side. */
export interface Walk {
  /** Mean price of what is there; NaN when nothing is. */
  readonly price: number
  /** Size that the side does not hold. */
  readonly rest: number
}

/** Both sides of something. */
export interface Both {
  readonly bids: number
  readonly asks: number
}

/** Order flow imbalance of one level, in size. */
export interface Flow {
  /** Of the last event; NaN when it does not connect to one before. */
  readonly last: number
  /** Summed since `take`. */
  readonly sum: number
  /** Returns the sum and begins the next window. */
  take(): number
}

export interface Volatility {
  /** Per second; NaN before the second mid price. */
  readonly variance: number
  /** 1/sqrt(s); NaN before the second mid price. */
  readonly value: number
}

/** What a market maker quotes. */
export interface Quotes {
  /** The reservation price. */
  readonly price: number
  /** From bid to ask. */
  readonly spread: number
  readonly bid: number
  readonly ask: number
}

export interface Arbitrage {
  /** Quote per unit at the best prices, after fees; negative: none. */
  readonly edge: number
  /** What can be bought and sold at a gain. */
  readonly size: number
  /** In quote, after fees. */
  readonly profit: number
  /** Between the books. */
  readonly skewUs: number
}

/** Adjustments to the mid by imbalance and spread, fitted by `obfeed strategy fit microprice`. */
export interface MicroPriceTable {
  readonly v: 1
  readonly tick: number
  /** Equal parts of qb/(qb+qa). */
  readonly buckets: number
  /** Spreads of 1 to so many ticks. */
  readonly spreads: number
  /** `[bucket][spread - 1]`, in price. */
  readonly adjustment: readonly (readonly number[])[]
}
