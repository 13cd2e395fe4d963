/**
 * Checks before every order, the same in all modes: what a book, a market and the limits forbid is
 * refused, and the first check that fails names the code. Cancels always pass.
 */
import type { BookRef } from '../strategy/contract.ts'
import { amountOf, amountText, power10, scaledOf } from '../core/exact.ts'
import type { Intent } from './broker.ts'
import type { Grid } from './grid.ts'
import { type BookLimits, type Limits, limitsOf } from './limits.ts'

export type RiskCode =
  | 'E_BOOK'
  | 'E_GRID'
  | 'E_MIN'
  | 'E_SIZE'
  | 'E_NOTIONAL'
  | 'E_POSITION'
  | 'E_EXPOSURE'
  | 'E_COLLAR'
  | 'E_DEPTH'
  | 'E_RATE'
  | 'E_OPEN'
  | 'E_DUPLICATE'
  | 'E_SELF'
  | 'E_LOSS'
  | 'E_HALTED'
  | 'E_UNKNOWN'

/** Why an order is not sent. */
export interface Refusal {
  readonly code: RiskCode
  /** What was found and what was expected. */
  readonly text: string
}

/** A book at one moment. */
export interface BookState {
  /** Proven and fresh. */
  readonly valid: boolean
  readonly proof: string
  readonly ageUs: number
  /** Best prices, exact; empty when a side is. */
  readonly bid: string
  readonly ask: string
}

/** An order that may still trade. */
export interface OpenOrder {
  readonly book: BookRef
  readonly side: 'buy' | 'sell'
  /** Unknown: whether it lives cannot be told; it counts in full. */
  readonly unknown: boolean
  /** IOC and FOK rest nowhere. */
  readonly rests: boolean
  readonly priceUnits: number
  /** What may still trade, in the step's decimals. */
  readonly sizeUnits: number
  readonly grid: Grid
}

/** Of one book: what is held, worth so much at a price. */
export interface Holding {
  readonly units: bigint
  /** Absolute worth in quote at the mark, as an amount. */
  readonly worth: bigint
}

export type Mode = 'active' | 'reducing' | 'halted'

/** All that a check looks at. Nothing is changed. */
export interface RiskState {
  /** The book it was decided on, and the newest one. */
  readonly decided: BookState
  readonly newest: BookState
  /** Displayed size on the other side within the limit, in the step's decimals. */
  readonly displayedUnits: number
  readonly grid: Grid
  readonly position: bigint
  /** Worth of all positions, at their marks. */
  readonly holdings: Iterable<Holding>
  readonly open: readonly OpenOrder[]
  readonly mode: Mode
  /** Why it is reducing or halted. */
  readonly why: string
}

const BPS = 10_000n

function refusal(code: RiskCode, text: string): Refusal {
  return { code, text }
}

/** What no file is needed for: the book, the market, and our own orders. */
export function checkAlways(intent: Intent, state: RiskState): Refusal | undefined {
  const { grid } = state
  if (state.mode === 'halted') return refusal('E_HALTED', state.why)
  for (const [name, book] of [['decided', state.decided], ['newest', state.newest]] as const) {
    if (!book.valid) return refusal('E_BOOK', `the ${name} book is not proven or is stale`)
    if (book.bid !== '' && book.ask !== '' && amountOf(book.bid) >= amountOf(book.ask)) {
      return refusal('E_BOOK', `the ${name} book is crossed (${book.bid} >= ${book.ask})`)
    }
  }
  const { minSizeUnits } = grid
  if (intent.sizeUnits < minSizeUnits) {
    return refusal(
      'E_MIN',
      `size ${intent.size} is below the least of ${grid.sizeText(minSizeUnits)}`,
    )
  }
  const cost = grid.cost(intent.priceUnits, intent.sizeUnits)
  if (cost < grid.minCost) {
    return refusal(
      'E_MIN',
      `it costs ${amountText(cost)}, below the least of ${amountText(grid.minCost)}`,
    )
  }
  if (intent.reduceOnly) {
    if (!grid.market.contract) return refusal('E_POSITION', 'a spot market has no reduceOnly')
    if (!reduces(intent, state.position)) {
      return refusal('E_POSITION', 'it does not reduce the position, as reduceOnly asks')
    }
  }
  for (const order of state.open) {
    if (order.book !== intent.book) continue
    if (order.unknown && order.side === intent.side) {
      return refusal('E_UNKNOWN', `an order on the ${order.side} side of this book is unknown`)
    }
    const meets = order.rests && order.side !== intent.side &&
      (intent.side === 'buy'
        ? intent.priceUnits >= order.priceUnits
        : intent.priceUnits <= order.priceUnits)
    if (meets) {
      return refusal('E_SELF', `it would meet our own order at ${grid.priceText(order.priceUnits)}`)
    }
  }
  return undefined
}

/** What a risk file limits, but rate, duplicates and losses: those need memory (`RiskEngine`). */
export function checkLimits(
  intent: Intent,
  state: RiskState,
  limits: Limits,
): Refusal | undefined {
  const { grid } = state
  const book = limitsOf(limits, intent.book)
  const refused = checkBook(state, book) ?? checkOrder(intent, grid, book) ??
    checkPosition(intent, state, book, limits)
  if (refused !== undefined) return refused
  const collared = checkCollar(intent, state.newest, book.collarBps)
  if (collared !== undefined) return collared
  if (intent.tif !== 'GTC') {
    const share = intent.sizeUnits / state.displayedUnits
    if (!(share <= book.maxDepthShare)) {
      return refusal(
        'E_DEPTH',
        `size ${intent.size} is ${(share * 100).toFixed(1)} % of what is displayed within its ` +
          `limit, expected at most ${book.maxDepthShare * 100} %`,
      )
    }
  }
  if (state.open.length >= limits.maxOpenOrders) {
    return refusal('E_OPEN', `${state.open.length} orders are open, the most allowed`)
  }
  return undefined
}

function checkBook(state: RiskState, limits: BookLimits): Refusal | undefined {
  for (const [name, book] of [['decided', state.decided], ['newest', state.newest]] as const) {
    if (book.ageUs > limits.maxBookAgeMs * 1000) {
      return refusal(
        'E_BOOK',
        `the ${name} book is ${book.ageUs / 1000} ms old, expected at most ${limits.maxBookAgeMs}`,
      )
    }
    if (book.proof === 'none' && !limits.allowUnproven) {
      return refusal('E_BOOK', `losses on the ${name} book would not be noticed (proof: none)`)
    }
  }
  return undefined
}

function checkOrder(intent: Intent, grid: Grid, limits: BookLimits): Refusal | undefined {
  if (amountOf(intent.size) > amountOf(limits.maxOrderSize)) {
    return refusal('E_SIZE', `size ${intent.size} is above ${limits.maxOrderSize}`)
  }
  const cost = grid.cost(intent.priceUnits, intent.sizeUnits)
  if (cost > amountOf(limits.maxOrderNotional)) {
    return refusal('E_NOTIONAL', `it costs ${amountText(cost)}, above ${limits.maxOrderNotional}`)
  }
  return undefined
}

/** Everything open may trade, or nothing of the other side: the worse case counts. */
function checkPosition(
  intent: Intent,
  state: RiskState,
  book: BookLimits,
  limits: Limits,
): Refusal | undefined {
  const { grid } = state
  let units = state.position
  const sign = intent.side === 'buy' ? 1n : -1n
  units += sign * BigInt(intent.sizeUnits)
  let exposure = grid.cost(intent.priceUnits, intent.sizeUnits)
  for (const { worth } of state.holdings) exposure += worth
  for (const order of state.open) {
    exposure += order.grid.cost(order.priceUnits, order.sizeUnits)
    if (order.book === intent.book && order.side === intent.side) {
      units += sign * BigInt(order.sizeUnits)
    }
  }
  const most = unitsOf(book.maxPosition, grid.sizeDecimals)
  const size = units < 0n ? -units : units
  // On the other side of zero it may still be large: that is not this order's doing.
  if (sign * units > 0n && size > most) {
    return refusal(
      'E_POSITION',
      `the position could become ${grid.sizeText(Number(units))}, expected at most ` +
        book.maxPosition,
    )
  }
  if (exposure > amountOf(limits.maxExposure) && !reduces(intent, state.position)) {
    return refusal(
      'E_EXPOSURE',
      `all positions and orders could be worth ${amountText(exposure)}, expected at most ` +
        limits.maxExposure,
    )
  }
  return undefined
}

/** A limit in units, rounded down. */
function unitsOf(text: string, decimals: number): bigint {
  const { units, decimals: own } = scaledOf(text)
  return own <= decimals ? units * power10(decimals - own) : units / power10(own - decimals)
}

function checkCollar(intent: Intent, book: BookState, collarBps: number): Refusal | undefined {
  const buys = intent.side === 'buy'
  const best = buys ? book.ask : book.bid
  if (best === '') return refusal('E_COLLAR', 'the other side is empty: nothing to hold it against')
  // Exact also for bps with decimals: they are text again first.
  const { units, decimals } = scaledOf(String(collarBps))
  const scale = power10(decimals)
  const share = buys ? BPS * scale + units : BPS * scale - units
  const limit = amountOf(best) * share
  const price = amountOf(intent.price) * BPS * scale
  if (buys ? price <= limit : price >= limit) return undefined
  return refusal(
    'E_COLLAR',
    `price ${intent.price} is more than ${collarBps} bps beyond ${best}`,
  )
}

/** Whether the order can only make the position smaller. */
export function reduces(intent: Intent, position: bigint): boolean {
  const size = BigInt(intent.sizeUnits)
  return intent.side === 'buy'
    ? position < 0n && size <= -position
    : position > 0n && size <= position
}
