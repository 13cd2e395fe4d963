/** Limits of a risk file. Each is always given: a limit that is missing never means "none". */
import type { BookRef } from '../strategy/contract.ts'

/** Per book. Decimals are exact text. */
export interface BookLimits {
  /** Older news than this are not traded on. */
  readonly maxBookAgeMs: number
  /** Trade on books whose losses nobody would notice (`proof: none`). */
  readonly allowUnproven: boolean
  /** In base units, or contracts. */
  readonly maxOrderSize: string
  /** In quote. */
  readonly maxOrderNotional: string
  /** In base units, or contracts: held + open + unknown, on the worse side. */
  readonly maxPosition: string
  /** How far beyond the best price of the other side an order may go. */
  readonly collarBps: number
  /** Part of the displayed size within its limit that an IOC or FOK may take. */
  readonly maxDepthShare: number
}

/** Over all books. */
export interface RunLimits {
  /** In quote: the sum of all positions, open and unknown orders at their prices. */
  readonly maxExposure: string
  /** Also the size of the burst. */
  readonly ordersPerSecond: number
  readonly maxOpenOrders: number
  /** No second order of the same book, side, price and size within this time. */
  readonly duplicateMs: number
  /** In quote, since midnight UTC. */
  readonly maxDailyLoss: string
  /** In quote, from the best result of the day. */
  readonly maxDrawdown: string
  /** In a row. */
  readonly maxRejects: number
  /** At a time. */
  readonly maxUnknown: number
}

export interface Limits extends BookLimits, RunLimits {
  /** What differs for single books. */
  readonly books: Readonly<Record<BookRef, Partial<BookLimits>>>
}

/** The limits of one book. */
export function limitsOf(limits: Limits, ref: BookRef): BookLimits {
  return { ...limits, ...limits.books[ref] }
}
