/** Whether two books show the same. */
import type { Book } from '../core/book.ts'
import { ASK, BID } from '../core/changes.ts'

/** The best levels of either side, as many as are published of `live`. */
export function isSameView(next: Book, live: Book): boolean {
  return isSameSide(next, live, BID) && isSameSide(next, live, ASK)
}

function isSameSide(next: Book, live: Book, which: typeof BID | typeof ASK): boolean {
  const one = which === BID ? next.bids : next.asks
  const other = which === BID ? live.bids : live.asks
  const count = Math.min(one.count, live.depth)
  if (count !== Math.min(other.count, live.depth)) return false
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
