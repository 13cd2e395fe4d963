/** How far a book has come, in the exchange's own terms; two of one symbol can be compared. */

export interface Position {
  /** The exchange's sequence; -1: it has none. */
  readonly nonce: number
  /** The same as text, only when it is beyond 2^53. */
  readonly nonceText: string | undefined
  /** Exchange time in ms; -1: none. */
  readonly timestampMs: number
}

/** Like any other, but written in place. */
export interface MutablePosition {
  nonce: number
  nonceText: string | undefined
  timestampMs: number
}

export const NOWHERE: Position = { nonce: -1, nonceText: undefined, timestampMs: -1 }

/**
 * Whether `book` is from before `known`. `bySymbol`: the sequence is the symbol's own, so that two
 * sockets tell the same numbers; a sequence of a connection says nothing about another one.
 *
 * An exchange may count anew, from near the beginning: then numbers do not compare, but its clock
 * goes on. A higher number with an older time is from before that, one that is far lower with a newer
 * time from after it. One that is a little lower is behind whatever time it bears: a server that lags
 * may write the time of its answer. What cannot be compared is not behind.
 */
export function isBehind(book: Position, known: Position, bySymbol: boolean): boolean {
  const hasTimes = book.timestampMs >= 0 && known.timestampMs >= 0
  const isOlder = hasTimes && book.timestampMs < known.timestampMs
  if (!bySymbol) return isOlder
  const order = compareNonces(book, known)
  if (order === undefined) return isOlder
  if (order === 0) return false
  if (order > 0) return isOlder
  const isAnew = hasTimes && book.timestampMs > known.timestampMs && book.nonce * 2 < known.nonce
  return !isAnew
}

/** It has a sequence. */
export function isNumbered({ nonce, nonceText }: Position): boolean {
  return nonce >= 0 || nonceText !== undefined
}

/** Below 0: `a` is the lower one; undefined: one of them has none. */
function compareNonces(a: Position, b: Position): number | undefined {
  if (a.nonceText !== undefined || b.nonceText !== undefined) {
    const [first, second] = [exactNonce(a), exactNonce(b)]
    if (first === undefined || second === undefined) return undefined
    return first < second ? -1 : first > second ? 1 : 0
  }
  return a.nonce < 0 || b.nonce < 0 ? undefined : a.nonce - b.nonce
}

function exactNonce({ nonce, nonceText }: Position): bigint | undefined {
  if (nonceText !== undefined) return BigInt(nonceText)
  return nonce < 0 ? undefined : BigInt(nonce)
}
