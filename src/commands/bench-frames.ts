/**
 * The workload of the measurements: Coinbase Advanced Trade `l2_data` frames from a seed, the same
 * bytes for every program that is measured.
 */
import { scaledToText } from '../core/decimal.ts'

export interface Workload {
  readonly seed: number
  readonly product: string
  /** Levels a side in the snapshot. */
  readonly levels: number
  readonly frames: number
  /** Updates a frame: uniform from 1 to this. */
  readonly updatesMax: number
}

export interface Frames {
  /** The snapshot frame, sequence_num 0. */
  readonly snapshot: Uint8Array
  /** Update frames, sequence_num 1, 2, … */
  readonly updates: Uint8Array[]
  /** Level updates in `updates`. */
  readonly levelUpdates: number
}

const PRICE_DECIMALS = 2
const SIZE_DECIMALS = 8
/** Cents. */
const MIDDLE = 7_885_600
/** Mean depth of an update, in levels: most of a market's changes are near its best price. */
const MEAN_DEPTH = 50
/** Ticks between two levels, on average. */
const GAP = 2

interface Side {
  readonly name: 'bid' | 'offer'
  /** +1: the greater price is the better one. */
  readonly sign: number
  /** Worst first. */
  readonly prices: number[]
}

/**
 * 30 % new sizes, 30 % new levels, 30 % deletes and 10 % deletes of levels that are not there (as
 * Coinbase sends them), with a depth that falls off exponentially.
 */
export function makeFrames(workload: Workload): Frames {
  const random = seeded(workload.seed)
  const bids: Side = { name: 'bid', sign: 1, prices: [] }
  const asks: Side = { name: 'offer', sign: -1, prices: [] }
  const text = new TextEncoder()
  let sequence = 0
  let timeMs = Date.UTC(2026, 7, 24, 22, 34, 13)

  const size = () =>
    scaledToText(1 + Math.floor(random() * 10 ** (4 + random() * 6)), SIZE_DECIMALS)
  const update = (side: Side, price: number, quantity: string, time: string) =>
    `{"side":"${side.name}","event_time":"${time}","price_level":"${
      scaledToText(price, PRICE_DECIMALS)
    }","new_quantity":"${quantity}"}`
  const frame = (type: string, time: string, updates: string[]) =>
    text.encode(
      `{"channel":"l2_data","timestamp":"${time}","sequence_num":${sequence++},"events":[{"type":"${type}","product_id":"${workload.product}","updates":[${
        updates.join(',')
      }]}]}`,
    )
  const isoTime = () => {
    timeMs += 1
    const micros = String(Math.floor(random() * 1000)).padStart(3, '0')
    return `${new Date(timeMs).toISOString().slice(0, -1)}${micros}Z`
  }

  const first: string[] = []
  const time = isoTime()
  for (const side of [bids, asks]) {
    let price = MIDDLE - side.sign
    const best: number[] = []
    for (let i = 0; i < workload.levels; i++) {
      best.push(price)
      first.push(update(side, price, size(), time))
      price -= side.sign * (1 + Math.floor(random() * (2 * GAP - 1)))
    }
    for (let i = best.length - 1; i >= 0; i--) side.prices.push(best[i])
  }
  const snapshot = frame('snapshot', time, first)

  const updates: Uint8Array[] = []
  let levelUpdates = 0
  for (let i = 0; i < workload.frames; i++) {
    const count = 1 + Math.floor(random() * workload.updatesMax)
    const now = isoTime()
    const levels: string[] = []
    for (let k = 0; k < count; k++) {
      const side = random() < 0.5 ? bids : asks
      const kind = random()
      const prices = side.prices
      const ticks = 1 + Math.floor(-Math.log(1 - random()) * MEAN_DEPTH * GAP)
      const depth = Math.floor(-Math.log(1 - random()) * MEAN_DEPTH)
      let price = prices[Math.max(0, prices.length - 1 - depth)]
      let quantity = size()
      if (kind < 0.3) {
        price = MIDDLE - side.sign * ticks
        // A free price near it, so that the book keeps its size.
        while (has(side, price)) price -= side.sign
        insert(side, price)
      } else if (kind < 0.6 && prices.length > 1) {
        remove(side, price)
        quantity = '0'
      } else if (kind >= 0.9) {
        price = MIDDLE - side.sign * ticks
        if (!has(side, price)) quantity = '0'
      }
      levels.push(update(side, price, quantity, now))
    }
    levelUpdates += count
    updates.push(frame('update', now, levels))
  }
  return { snapshot, updates, levelUpdates }
}

function position(side: Side, price: number): number {
  const key = side.sign * price
  let low = 0
  let high = side.prices.length
  while (low < high) {
    const middle = (low + high) >>> 1
    if (side.sign * side.prices[middle] < key) low = middle + 1
    else high = middle
  }
  return low
}

function has(side: Side, price: number): boolean {
  return side.prices[position(side, price)] === price
}

function insert(side: Side, price: number): void {
  const at = position(side, price)
  if (side.prices[at] !== price) side.prices.splice(at, 0, price)
}

function remove(side: Side, price: number): void {
  const at = position(side, price)
  if (side.prices[at] === price) side.prices.splice(at, 1)
}

/** Deterministic numbers in [0, 1): mulberry32. */
function seeded(seed: number): () => number {
  let state = seed >>> 0
  return () => {
    state = (state + 0x6d2b79f5) >>> 0
    let x = state
    x = Math.imul(x ^ (x >>> 15), x | 1)
    x ^= x + Math.imul(x ^ (x >>> 7), x | 61)
    return ((x ^ (x >>> 14)) >>> 0) / 4294967296
  }
}
