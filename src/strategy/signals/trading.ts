/** Signals that are prices to trade at: a maker's quotes, an arbitrage between two books. */
import type { Arbitrage, Book, Quotes } from '../contract.ts'
import { log } from '../../core/math.ts'
import { netSize, nextLevel } from './levels.ts'

const BPS = 1e4

export function avellanedaStoikov(input: {
  readonly mid: number
  readonly position: number
  readonly gamma: number
  readonly sigma: number
  readonly horizon: number
  readonly k: number
}): Quotes {
  const { gamma } = input
  const risk = gamma * input.sigma * input.sigma * input.horizon
  const price = input.mid - input.position * risk
  const spread = risk + 2 / gamma * log(1 + gamma / input.k)
  return { price, spread, bid: price - spread / 2, ask: price + spread / 2 }
}

const NO_ARBITRAGE = { edge: NaN, size: NaN, profit: NaN }

export function arbitrage(
  buy: Book,
  sell: Book,
  options: {
    readonly buyFeeBps?: number
    readonly sellFeeBps?: number
    readonly maxSkewMs?: number
  } = {},
): Arbitrage {
  const skewUs = Math.abs(buy.receivedUs - sell.receivedUs)
  if (skewUs > (options.maxSkewMs ?? Infinity) * 1000) return { ...NO_ARBITRAGE, skewUs }
  const { asks } = buy
  const { bids } = sell
  const buyAt = 1 + (options.buyFeeBps ?? 0) / BPS
  const sellAt = 1 - (options.sellFeeBps ?? 0) / BPS
  let a = nextLevel(asks, 0)
  let b = nextLevel(bids, 0)
  if (a >= asks.count || b >= bids.count) return { ...NO_ARBITRAGE, skewUs }
  const edge = bids.price(b) * sellAt - asks.price(a) * buyAt
  let size = 0
  let profit = 0
  let askLeft = netSize(asks, a)
  let bidLeft = netSize(bids, b)
  while (a < asks.count && b < bids.count) {
    const gain = bids.price(b) * sellAt - asks.price(a) * buyAt
    if (!(gain > 0)) break
    const part = Math.min(askLeft, bidLeft)
    size += part
    profit += part * gain
    askLeft -= part
    bidLeft -= part
    if (askLeft <= 0) {
      a = nextLevel(asks, a + 1)
      askLeft = netSize(asks, a)
    }
    if (bidLeft <= 0) {
      b = nextLevel(bids, b + 1)
      bidLeft = netSize(bids, b)
    }
  }
  return { edge, size, profit, skewUs }
}
