/** Signals of one book. A missing side or level gives NaN; nothing throws. */
import type { Book, Both, Side, Walk } from '../contract.ts'
import { mid, netSize, nextLevel } from './levels.ts'

const BPS = 1e4

export function spreadBps(book: Book): number {
  const bid = book.bids.price(nextLevel(book.bids, 0))
  const ask = book.asks.price(nextLevel(book.asks, 0))
  return (ask - bid) / ((bid + ask) / 2) * BPS
}

export function weightedMid(book: Book): number {
  const { bids, asks } = book
  const b = nextLevel(bids, 0)
  const a = nextLevel(asks, 0)
  const bidSize = netSize(bids, b)
  const askSize = netSize(asks, a)
  return (bids.price(b) * askSize + asks.price(a) * bidSize) / (bidSize + askSize)
}

/** Sum of the best `levels` sizes; NaN when there are fewer. */
function sumOfBest(side: Side, levels: number): number {
  let sum = 0
  let i = 0
  for (let k = 0; k < levels; k++, i++) {
    i = nextLevel(side, i)
    sum += netSize(side, i)
  }
  return sum
}

export function imbalance(book: Book, levels = 1): number {
  const bids = sumOfBest(book.bids, levels)
  const asks = sumOfBest(book.asks, levels)
  return (bids - asks) / (bids + asks)
}

export function vwap(book: Book, side: 'buy' | 'sell', size: number): Walk {
  const from = side === 'buy' ? book.asks : book.bids
  let rest = size
  let cost = 0
  let taken = 0
  for (let i = nextLevel(from, 0); i < from.count && rest > 0; i = nextLevel(from, i + 1)) {
    const part = Math.min(rest, netSize(from, i))
    cost += part * from.price(i)
    taken += part
    rest -= part
  }
  return { price: cost / taken, rest }
}

export function slippageBps(book: Book, side: 'buy' | 'sell', size: number): number {
  const { price, rest } = vwap(book, side, size)
  if (rest > 0) return NaN
  const middle = mid(book)
  return Math.abs(price - middle) / middle * BPS
}

function within(side: Side, middle: number, distance: number): number {
  if (!(middle === middle)) return NaN
  let sum = 0
  for (let i = nextLevel(side, 0); i < side.count; i = nextLevel(side, i + 1)) {
    if (Math.abs(side.price(i) - middle) > distance) break
    sum += netSize(side, i)
  }
  return sum
}

export function depthWithin(book: Book, bps: number): Both {
  const middle = mid(book)
  const distance = middle * bps / BPS
  return {
    bids: within(book.bids, middle, distance),
    asks: within(book.asks, middle, distance),
  }
}

function weightOf(side: Side, middle: number, levels: number): number {
  let sum = 0
  let i = nextLevel(side, 0)
  for (let k = 0; k < levels && i < side.count; k++, i = nextLevel(side, i + 1)) {
    sum += netSize(side, i) / Math.abs(side.price(i) - middle)
  }
  return sum
}

/** `levels` a side, or as many as there are. */
export function pressure(book: Book, levels = Infinity): number {
  const middle = mid(book)
  const bids = weightOf(book.bids, middle, levels)
  const asks = weightOf(book.asks, middle, levels)
  return (bids - asks) / (bids + asks)
}

function slopeOf(side: Side, middle: number, levels: number): number {
  let cumulated = 0
  let sumXY = 0
  let sumXX = 0
  let i = nextLevel(side, 0)
  for (let k = 0; k < levels && i < side.count; k++, i = nextLevel(side, i + 1)) {
    const x = Math.abs(side.price(i) - middle) / middle * BPS
    cumulated += netSize(side, i)
    sumXY += x * cumulated
    sumXX += x * x
  }
  return sumXY / sumXX
}

/** `levels` a side, or as many as there are. */
export function slope(book: Book, levels = Infinity): Both {
  const middle = mid(book)
  return { bids: slopeOf(book.bids, middle, levels), asks: slopeOf(book.asks, middle, levels) }
}
