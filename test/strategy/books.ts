/** Books for tests: levels as texts, on the book the real feed fills. */
import { Book as CoreBook } from '../../src/core/book.ts'
import { ASK, BID, LevelChanges } from '../../src/core/changes.ts'
import { scaledFromText } from '../../src/core/decimal.ts'
import type { BookRef } from '../../src/strategy/contract.ts'
import { LiveBook } from '../../src/strategy/live-book.ts'

export type Levels = readonly (readonly [price: string, size: string])[]

const DECIMALS = 4

/** `100x2 99.5x1` as levels. */
export function levels(text: string): Levels {
  return text.split(' ').filter((word) => word !== '').map((word) => {
    const [price, size] = word.split('x')
    return [price!, size!]
  })
}

export function changesOf(bids: Levels, asks: Levels, decimals = DECIMALS): LevelChanges {
  const changes = new LevelChanges()
  for (const [side, all] of [[BID, bids], [ASK, asks]] as const) {
    for (const [price, size] of all) {
      const i = changes.count++
      changes.side[i] = side
      changes.price[i] = scaledFromText(price, decimals)
      if (Number.isNaN(changes.price[i])) changes.widePrice.set(i, price)
      changes.size[i] = scaledFromText(size, decimals)
      if (Number.isNaN(changes.size[i])) changes.wideSize.set(i, size)
    }
  }
  return changes
}

/** A live book of `100x2 99.5x1` and the like. */
export function bookOf(
  bids: string,
  asks: string,
  { ref = 'x:A/B' as BookRef, receivedUs = 1_000_000 } = {},
): LiveBook {
  const live = new LiveBook(ref, new CoreBook(DECIMALS, DECIMALS, Infinity))
  reload(live, bids, asks, receivedUs)
  return live
}

/** Replaces its levels. */
export function reload(live: LiveBook, bids: string, asks: string, receivedUs: number): void {
  live.book.load(changesOf(levels(bids), levels(asks)))
  live.receivedUs = receivedUs
  live.epoch = 1
  live.seq++
  live.valid = true
  live.proof = 'sequence'
  live.changed()
}
