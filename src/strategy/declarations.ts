/** The functions of `obfeed`, declared: shipped behind the contract. Held to `src/index.ts` by a test. */
import type {
  Arbitrage,
  Book,
  Both,
  Flow,
  MicroPriceTable,
  Quotes,
  Signal,
  Strategy,
  Volatility,
  Walk,
} from './contract.ts'

/** Returns its argument: gives the editor the types. */
export declare function defineStrategy<P extends object>(strategy: Strategy<P>): Strategy<P>

// Signals of a book. A missing side or level gives NaN; nothing throws. Own orders are left out.

/** (best bid + best ask) / 2. */
export declare function mid(book: Book): number
/** Spread in hundredths of a percent of the mid. */
export declare function spreadBps(book: Book): number
/** The mid, each price weighted with the other side's size. */
export declare function weightedMid(book: Book): number
/** The mid and its fitted adjustment (Stoikov 2018); NaN beyond what was fitted. */
export declare function microPrice(book: Book, table: MicroPriceTable): number
/** (bids - asks) / (bids + asks) of the best `levels` sizes, -1 to 1. */
export declare function imbalance(book: Book, levels?: number): number
/** Mean price of buying or selling `size` at once. */
export declare function vwap(book: Book, side: 'buy' | 'sell', size: number): Walk
/** Distance of `vwap` from the mid; NaN when the side does not hold `size`. */
export declare function slippageBps(book: Book, side: 'buy' | 'sell', size: number): number
/** Size within `bps` of the mid. */
export declare function depthWithin(book: Book, bps: number): Both
/** (wb - wa) / (wb + wa) with w = sum of size / distance from the mid. */
export declare function pressure(book: Book, levels?: number): number
/** Cumulated size over distance in bps, least squares through 0. */
export declare function slope(book: Book, levels?: number): Both
/** Quotes around `mid` for a position (Avellaneda-Stoikov 2008). */
export declare function avellanedaStoikov(input: {
  readonly mid: number
  /** In units of the order size. */
  readonly position: number
  /** Risk aversion. */
  readonly gamma: number
  /** Standard deviation of the price over a unit of time. */
  readonly sigma: number
  /** In units of time. */
  readonly horizon: number
  /** How fast fills get rarer with distance. */
  readonly k: number
}): Quotes
/** Buys at `buy`'s asks and sells at `sell`'s bids while that gains after fees. */
export declare function arbitrage(buy: Book, sell: Book, options?: {
  readonly buyFeeBps?: number
  readonly sellFeeBps?: number
  /** NaN when more lies between the two books. */
  readonly maxSkewMs?: number
}): Arbitrage

// Signals of a stream, for `ctx.use`.

/** Order flow imbalance at the touch (Cont-Kukanov-Stoikov 2014). */
export declare function ofi(): Signal<Flow>
/** The same on each of the best `levels` (Xu-Gould-Howison 2018). */
export declare function mlofi(levels: number): Signal<readonly Flow[]>
/** Exponentially weighted volatility of the mid with memory `tauSeconds`. */
export declare function ewmaVol(tauSeconds: number): Signal<Volatility>

// Mathematics with equal bits in every engine (`Math.exp` and `Math.log` have not).

export declare function exp(x: number): number
export declare function log(x: number): number

// Exact decimals as canonical text: no exponent, no needless zeros. They throw on other text.

export declare function addDecimals(a: string, b: string): string
export declare function subtractDecimals(a: string, b: string): string
export declare function multiplyDecimals(a: string, b: string): string
/** Negative, zero or positive like `a - b`. */
export declare function compareDecimals(a: string, b: string): number
/** To a multiple of `step`. */
export declare function roundDecimal(
  value: string | number,
  step: string,
  way: 'down' | 'up',
): string
