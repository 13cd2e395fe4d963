/** Whether two books are the same. */
import type { Book } from '../core/book.ts'
import { ASK, BID } from '../core/changes.ts'

/** To the last level, published or not: one that lacks a level has yet to hear of it. */
export function isSameBook(next: Book, live: Book): boolean {
  return isSameSide(next, live, BID) && isSameSide(next, live, ASK)
}

function isSameSide(next: Book, live: Book, which: typeof BID | typeof ASK): boolean {
  const one = which === BID ? next.bids : next.asks
  const other = which === BID ? live.bids : live.asks
  const { count } = one
  if (count !== other.count) return false
  const [price, otherPrice, size, otherSize] = Array.from(
    { length: 4 },
    () => new Float64Array(count),
  )
  one.read(0, count, price, size)
  other.read(0, count, otherPrice, otherSize)
  for (let i = 0; i < count; i++) {
    // What is wide has a name of its own in each book.
    if (price[i] !== otherPrice[i] && next.priceText(price[i]) !== live.priceText(otherPrice[i])) {
      return false
    }
    if (size[i] !== otherSize[i] && next.sizeText(size[i]) !== live.sizeText(otherSize[i])) {
      return false
    }
  }
  return true
}
