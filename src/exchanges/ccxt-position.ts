/** How far a book of ccxt has come. */
import type { CcxtBook } from './ccxt-client.ts'

/** -1 where ccxt does not tell. */
export interface CcxtPosition {
  readonly nonce: number
  readonly timestampMs: number
}

export const UNKNOWN: CcxtPosition = { nonce: -1, timestampMs: -1 }

export function positionOf({ nonce, timestamp }: CcxtBook): CcxtPosition {
  return { nonce: integer(nonce), timestampMs: integer(timestamp) }
}

/** A book at `position` is older than one at `other`, as far as both tell. */
export function isBehind(position: CcxtPosition, other: CcxtPosition): boolean {
  if (position.nonce >= 0 && other.nonce >= 0) return position.nonce < other.nonce
  return position.timestampMs >= 0 && position.timestampMs < other.timestampMs
}

function integer(value: unknown): number {
  return Number.isSafeInteger(value) ? value as number : -1
}
