/** Levels as the others made them: what our own resting orders add is left out. */
import type { Book, Side } from '../contract.ts'

/** Size of level `i` without ours. */
export function netSize(side: Side, i: number): number {
  return side.size(i) - side.own(i)
}

/** The first level from `i` on that is not ours alone; `count` or more: there is none. */
export function nextLevel(side: Side, i: number): number {
  const count = side.count
  while (i < count && !(netSize(side, i) > 0)) i++
  return i
}

/** Price of the best level that is not ours alone; NaN when there is none. */
export function bestPrice(side: Side): number {
  return side.price(nextLevel(side, 0))
}

/** (best bid + best ask) / 2. */
export function mid(book: Book): number {
  return (bestPrice(book.bids) + bestPrice(book.asks)) / 2
}
