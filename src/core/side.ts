/**
 * One side of a book: applies frames to the tree of its levels and to the view of the best `depth`.
 *
 * Keys are prices with the sign that makes a better price the greater key (bids `+price`, asks
 * `-price`), so one code serves both sides.
 */
import type { LevelChanges } from './changes.ts'
import { ObfeedError } from './errors.ts'
import { CELLS, LEAF, LevelTree } from './level-tree.ts'
import { type SideDifference, SideView } from './side-view.ts'
import { ensureTouches, sortTouches, touches } from './touches.ts'
import { isRegularPrice, REGULAR_PRICE_MAX, type WideTable } from './wide.ts'

export class Side extends LevelTree {
  readonly difference: SideDifference
  /** What is worse than this key is unknown, and kept out; -Infinity: the whole side is known. */
  horizon = -Infinity
  /** +1 for bids, -1 for asks. */
  private readonly sign: number
  private readonly which: number
  private readonly view: SideView
  private readonly wide: WideTable

  constructor(which: number, sign: number, depth: number, wide: WideTable) {
    super()
    this.which = which
    this.sign = sign
    this.wide = wide
    this.view = new SideView(this, sign, depth, wide)
    this.difference = this.view.difference
  }

  override clear(): void {
    super.clear()
    this.view.clear()
    this.horizon = -Infinity
  }

  /** `price`: the scaled price of the worst level that is known; NaN: the whole side is. */
  setHorizon(price: number): void {
    this.horizon = price === price ? this.sign * price : -Infinity
  }

  /** The view is the best `depth` levels from now on. */
  see(depth: number): void {
    this.view.see(depth)
  }

  /** Applies this side's part of a frame and works out `difference`. */
  apply(changes: LevelChanges): void {
    const count = changes.count
    const sides = changes.side
    const prices = changes.price
    const sizes = changes.size
    const which = this.which
    const sign = this.sign
    const view = this.view
    const edge = view.edge
    const horizon = this.horizon
    this.difference.count = 0
    if (touches.key.length < count) ensureTouches(count)
    const touchKey = touches.key
    const touchBefore = touches.before
    const touchAfter = touches.after
    let touched = 0
    let moved = false
    let cells = this.cells
    let best = this.best
    let length = this.length
    let slot = this.slot
    let last = this.leaves - 1
    for (let i = 0; i < count; i++) {
      if (sides[i] !== which) continue
      let price = prices[i]
      let size = sizes[i]
      let wide = false
      if (!(price <= REGULAR_PRICE_MAX && price >= -REGULAR_PRICE_MAX)) {
        price = this.widePrice(changes, i)
        // A delete of a wide price that nobody has.
        if (price !== price) continue
        wide = !isRegularPrice(price)
      }
      if (!(size >= 0)) size = this.wideSize(changes, i)
      const key = sign * price
      if (key < horizon) {
        if (size < 0) this.wide.releaseSize(size)
        continue
      }

      // The first leaf whose best key is not below the key, else the last.
      let leaf = last
      if (leaf > 0 && best[leaf - 1] >= key) {
        leaf--
        let steps = 6
        while (leaf > 0 && best[leaf - 1] >= key) {
          leaf--
          if (--steps === 0) {
            let low = 0
            while (low < leaf) {
              const middle = (low + leaf) >>> 1
              if (best[middle] >= key) leaf = middle
              else low = middle + 1
            }
            break
          }
        }
      }
      const base = slot[leaf] * CELLS
      const end = base + length[leaf]
      // The first position whose key is not below the key.
      let at = base
      let high = end
      while (at < high) {
        const middle = (at + high) >>> 1
        if (cells[middle] < key) at = middle + 1
        else high = middle
      }

      let before = 0
      if (at < end && cells[at] === key) {
        before = cells[at + LEAF]
        if (size !== 0) {
          if (before === size) continue
          cells[at + LEAF] = size
          if (before < 0) this.wide.releaseSize(before)
        } else {
          for (let k = at + 1; k < end; k++) {
            cells[k - 1] = cells[k]
            cells[k + (LEAF - 1)] = cells[k + LEAF]
          }
          const left = --length[leaf]
          this.count--
          if (at === end - 1 && left > 0) best[leaf] = cells[at - 1]
          if (before < 0) this.wide.releaseSize(before)
          if (wide) this.wide.releasePrice(price)
          if (key >= edge) moved = true
          if (left < LEAF / 4 && last > 0) {
            this.shrink(leaf)
            last = this.leaves - 1
          }
        }
      } else {
        if (size === 0) continue
        if (end - base === LEAF) {
          this.split(leaf, at - base)
          cells = this.cells
          best = this.best
          length = this.length
          slot = this.slot
          last = this.leaves - 1
          // Once more from the top: the leaf is one of two now, and has room.
          i--
          if (size < 0) this.wide.releaseSize(size)
          continue
        }
        for (let k = end; k > at; k--) {
          cells[k] = cells[k - 1]
          cells[k + LEAF] = cells[k + (LEAF - 1)]
        }
        cells[at] = key
        cells[at + LEAF] = size
        length[leaf]++
        this.count++
        if (at === end) best[leaf] = key
        if (wide) this.wide.usePrice(price)
        if (key >= edge) moved = true
      }
      if (key >= edge) {
        touchKey[touched] = key
        touchBefore[touched] = before
        touchAfter[touched] = size
        touched++
      }
    }
    if (touched > 0) view.differ(touched, moved)
  }

  /** Replaces everything by this side's levels of `changes`, in any order, up to the horizon. */
  load(changes: LevelChanges): void {
    const known = this.horizon
    this.clear()
    this.horizon = known
    const sides = changes.side
    const prices = changes.price
    const sizes = changes.size
    const which = this.which
    const sign = this.sign
    ensureTouches(changes.count)
    const keys = touches.key
    const values = touches.before
    const horizon = this.horizon
    let count = 0
    let ascending = true
    let descending = true
    let previous = NaN
    for (let i = 0; i < changes.count; i++) {
      if (sides[i] !== which) continue
      let price = prices[i]
      let size = sizes[i]
      if (!(price <= REGULAR_PRICE_MAX && price >= -REGULAR_PRICE_MAX)) {
        price = this.widePrice(changes, i)
        if (price !== price) continue
      }
      if (!(size >= 0)) size = this.wideSize(changes, i)
      const key = sign * price
      if (key < horizon) {
        if (size < 0) this.wide.releaseSize(size)
        continue
      }
      if (key <= previous) ascending = false
      if (key >= previous) descending = false
      previous = key
      keys[count] = key
      values[count] = size
      count++
    }
    if (!ascending) {
      if (!descending) count = this.sortLoaded(count)
      touches.key.subarray(0, count).reverse()
      touches.before.subarray(0, count).reverse()
    }
    this.fillLevels(count)
    this.view.findEdge()
  }

  /** Forgets the worst levels beyond `kept`, which is not less than the view's depth. */
  truncate(kept: number): void {
    if (this.count <= kept) return
    while (this.count > kept) {
      const base = this.slot[0] * CELLS
      const length = this.length[0]
      const gone = Math.min(this.count - kept, length)
      for (let at = base; at < base + gone; at++) {
        const price = this.sign * this.cells[at]
        if (!isRegularPrice(price)) this.wide.releasePrice(price)
        const size = this.cells[at + LEAF]
        if (size < 0) this.wide.releaseSize(size)
      }
      this.cells.copyWithin(base, base + gone, base + length)
      this.cells.copyWithin(base + LEAF, base + LEAF + gone, base + LEAF + length)
      this.length[0] = length - gone
      this.count -= gone
      if (length - gone < LEAF / 4 && this.leaves > 1) this.shrink(0)
    }
    this.view.findEdge()
  }

  /**
   * Copies up to `count` levels into the columns, best first, beginning with the level `from` (0 =
   * the best). Returns how many there were.
   */
  read(from: number, count: number, price: Float64Array, size: Float64Array): number {
    const sign = this.sign
    let skip = from
    let read = 0
    for (let leaf = this.leaves - 1; leaf >= 0 && read < count; leaf--) {
      const length = this.length[leaf]
      if (skip >= length) {
        skip -= length
        continue
      }
      const base = this.slot[leaf] * CELLS
      for (let at = base + length - 1 - skip; at >= base && read < count; at--) {
        price[read] = sign * this.cells[at]
        size[read] = this.cells[at + LEAF]
        read++
      }
      skip = 0
    }
    return read
  }

  /** The key of a price that came without a usable scaled integer; NaN: nothing to delete. */
  private widePrice(changes: LevelChanges, i: number): number {
    const price = changes.price[i]
    const text = price === price ? this.wide.textOf(price) : changes.widePrice.get(i)
    if (text === undefined) {
      throw new Error(`level ${i} has price NaN and no text in widePrice`)
    }
    const regular = this.wide.regularPrice(text)
    if (regular === regular) return regular
    return changes.size[i] === 0 ? this.wide.findPrice(text) : this.wide.addPrice(text)
  }

  private wideSize(changes: LevelChanges, i: number): number {
    const text = changes.wideSize.get(i)
    if (text === undefined || text.charCodeAt(0) === 45) {
      throw new ObfeedError(
        'E_DECODE',
        `level ${i} has size ${text ?? changes.size[i]}; expected a decimal of at least 0; ` +
          'resynchronise the symbol',
        { scope: 'symbol' },
      )
    }
    return this.wide.addSize(text)
  }

  /** Sorts what a load gathered, best first; the last one of a price wins, also when it removes it. */
  private sortLoaded(count: number): number {
    sortTouches(count)
    const keys = touches.key
    const values = touches.before
    let kept = 0
    for (let i = 0; i < count; i++) {
      if (i + 1 < count && keys[i + 1] === keys[i]) {
        if (values[i] < 0) this.wide.releaseSize(values[i])
        continue
      }
      keys[kept] = keys[i]
      values[kept] = values[i]
      kept++
    }
    return kept
  }

  /** Fills the tree from what a load gathered, worst first, without equal prices. */
  private fillLevels(count: number): void {
    const keys = touches.key
    const values = touches.before
    let kept = 0
    for (let i = 0; i < count; i++) {
      if (values[i] === 0) continue
      keys[kept] = keys[i]
      values[kept] = values[i]
      kept++
    }
    if (this.wide.count > 0) {
      for (let i = 0; i < kept; i++) {
        const price = this.sign * keys[i]
        if (!isRegularPrice(price)) this.wide.usePrice(price)
      }
    }
    this.fill(keys, values, kept)
  }
}
