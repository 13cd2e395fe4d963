/** A market of single orders, first come first served at each price: the truth behind the levels. */

export const PRICES = 24

export interface Resident {
  readonly id: number
  size: number
}

/** One action of the public: every order acts by itself, so every event is one cause. */
export type Deed =
  | {
    readonly kind: 'limit'
    readonly buys: boolean
    readonly price: number
    readonly size: number
  }
  | { readonly kind: 'market'; readonly buys: boolean; readonly size: number }
  | { readonly kind: 'cancel'; readonly id: number }

export class FifoMarket {
  /** By price, oldest first. */
  readonly bids: Resident[][] = Array.from({ length: PRICES }, () => [])
  readonly asks: Resident[][] = Array.from({ length: PRICES }, () => [])
  /** Where each resting order stands. */
  readonly places: Map<number, { readonly buys: boolean; readonly price: number }> = new Map()
  /** Prices touched since `clean`, bids then asks. */
  readonly dirty: [Set<number>, Set<number>] = [new Set(), new Set()]
  /** Filled size of the order that is watched. */
  filled = 0
  readonly #watched: number

  constructor(watched = -1) {
    this.#watched = watched
  }

  best(buys: boolean): number {
    const side = buys ? this.bids : this.asks
    if (buys) { for (let p = PRICES - 1; p >= 0; p--) if (side[p]!.length > 0) return p }
    else for (let p = 0; p < PRICES; p++) if (side[p]!.length > 0) return p
    return -1
  }

  level(buys: boolean, price: number): number {
    let sum = 0
    for (const { size } of (buys ? this.bids : this.asks)[price]!) sum += size
    return sum
  }

  do(deed: Deed, id: number): void {
    if (deed.kind === 'cancel') return this.#cancel(deed.id)
    const limit = deed.kind === 'limit' ? deed.price : deed.buys ? PRICES - 1 : 0
    const rest = this.#match(deed.buys, limit, deed.size, id)
    if (rest === 0 || deed.kind === 'market') return
    const side = deed.buys ? this.bids : this.asks
    side[limit]!.push({ id, size: rest })
    this.places.set(id, { buys: deed.buys, price: limit })
    this.dirty[deed.buys ? 0 : 1].add(limit)
  }

  #match(buys: boolean, limit: number, size: number, id: number): number {
    const other = buys ? this.asks : this.bids
    while (size > 0) {
      const price = this.best(!buys)
      if (price < 0 || (buys ? price > limit : price < limit)) break
      const first = other[price]![0]!
      const part = Math.min(size, first.size)
      size -= part
      first.size -= part
      if (first.id === this.#watched || id === this.#watched) this.filled += part
      if (first.size === 0) {
        other[price]!.shift()
        this.places.delete(first.id)
      }
      this.dirty[buys ? 1 : 0].add(price)
    }
    return size
  }

  #cancel(id: number): void {
    const place = this.places.get(id)
    if (place === undefined) return
    const queue = (place.buys ? this.bids : this.asks)[place.price]!
    queue.splice(queue.findIndex((order) => order.id === id), 1)
    this.places.delete(id)
    this.dirty[place.buys ? 0 : 1].add(place.price)
  }
}
