/**
 * One side of a book: a two-level B+ tree in typed arrays, and the exact difference that one frame
 * makes to its best `depth` levels.
 *
 * Keys are prices with the sign that makes a better price the greater key (bids `+price`, asks
 * `-price`), so one code serves both sides. Leaves and the levels in them stand worst first: most
 * changes happen near the best price, and there they move few levels out of the way.
 */
import type { LevelChanges } from './changes.ts'
import { ObfeedError } from './errors.ts'
import { isRegularPrice, REGULAR_PRICE_MAX, type WideTable } from './wide.ts'

/** Levels in a leaf at most. */
const LEAF = 64
/** Levels in a leaf after a load: room for some inserts before it splits. */
const LEAF_LOADED = 52
/** A leaf's cells: its keys, then its sizes. */
const CELLS = 2 * LEAF
/** Two neighbours with fewer levels than this together become one. */
const MERGE_BELOW = 28

/** Scratch of the frame at work, shared by all sides: nothing in it outlives a call. */
const scratch = {
  key: new Float64Array(1024),
  before: new Float64Array(1024),
  after: new Float64Array(1024),
  key2: new Float64Array(1024),
  before2: new Float64Array(1024),
  after2: new Float64Array(1024),
}

function ensureScratch(capacity: number): void {
  if (scratch.key.length >= capacity) return
  const grown = Math.max(capacity, scratch.key.length * 2)
  scratch.key = new Float64Array(grown)
  scratch.before = new Float64Array(grown)
  scratch.after = new Float64Array(grown)
  scratch.key2 = new Float64Array(grown)
  scratch.before2 = new Float64Array(grown)
  scratch.after2 = new Float64Array(grown)
}

/** What one frame changed in one side of the view: unique prices, best first, size 0 = gone. */
export class SideDifference {
  count = 0
  /** Scaled integers, or keys of wide prices: `Book.priceText` tells either. */
  price: Float64Array<ArrayBuffer> = new Float64Array(8)
  /** Scaled integers, or negative for wide sizes: `Book.sizeText` tells either. */
  size: Float64Array<ArrayBuffer> = new Float64Array(8)

  /** Room for `capacity` levels; what is in it is lost. */
  ensure(capacity: number): void {
    if (this.price.length >= capacity) return
    const grown = Math.max(capacity, this.price.length * 2)
    this.price = new Float64Array(grown)
    this.size = new Float64Array(grown)
  }
}

/** One side of one book. */
export class Side {
  /** +1 for bids, -1 for asks. */
  readonly sign: number
  /** Levels in the whole side. */
  count = 0
  readonly difference: SideDifference = new SideDifference()

  private readonly which: number
  private readonly depth: number
  private readonly wide: WideTable

  /** Keys and sizes of leaf slot s: `[s * CELLS, s * CELLS + LEAF)` and the LEAF after it. */
  cells: Float64Array<ArrayBuffer> = new Float64Array(CELLS)
  /** Per leaf, worst first: its best key, its level count, its slot. At least one leaf. */
  best: Float64Array<ArrayBuffer> = new Float64Array(1)
  length: Uint8Array<ArrayBuffer> = new Uint8Array(1)
  slot: Uint32Array<ArrayBuffer> = new Uint32Array(1)
  leaves = 1
  /** Slots handed out so far; slots that came back stand behind the leaves in `slot`. */
  slots = 1
  /** Key of the worst level in the view; -Infinity when the whole side is in it. */
  edge = -Infinity
  edgeLeaf = 0
  edgeAt = 0

  constructor(which: number, sign: number, depth: number, wide: WideTable) {
    this.which = which
    this.sign = sign
    this.depth = depth
    this.wide = wide
  }

  clear(): void {
    this.count = 0
    this.leaves = 1
    this.slots = 1
    this.length[0] = 0
    this.slot[0] = 0
    this.edge = -Infinity
    this.difference.count = 0
  }

  /** The best key; -Infinity when the side is empty. */
  bestKey(): number {
    return this.count === 0 ? -Infinity : this.best[this.leaves - 1]
  }

  /** Applies this side's part of a frame and works out `difference`. */
  apply(changes: LevelChanges): void {
    const count = changes.count
    const sides = changes.side
    const prices = changes.price
    const sizes = changes.size
    const which = this.which
    const sign = this.sign
    const edge = this.edge
    this.difference.count = 0
    if (scratch.key.length < count) ensureScratch(count)
    const touchKey = scratch.key
    const touchBefore = scratch.before
    const touchAfter = scratch.after
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
    if (touched > 0) this.differ(touched, moved)
  }

  /** Replaces everything by this side's levels of `changes`, in any order. */
  load(changes: LevelChanges): void {
    this.clear()
    const sides = changes.side
    const prices = changes.price
    const sizes = changes.size
    const which = this.which
    const sign = this.sign
    ensureScratch(changes.count)
    const keys = scratch.key
    const values = scratch.before
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
      if (key <= previous) ascending = false
      if (key >= previous) descending = false
      previous = key
      keys[count] = key
      values[count] = size
      count++
    }
    if (!ascending) {
      if (!descending) count = this.sortLoaded(count)
      scratch.key.subarray(0, count).reverse()
      scratch.before.subarray(0, count).reverse()
    }
    this.fill(count)
    this.findEdge()
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
    const keys = scratch.key
    const values = scratch.before
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

  /** Builds the leaves from `count` levels in scratch, worst first, without equal prices. */
  private fill(count: number): void {
    const keys = scratch.key
    const values = scratch.before
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
    const leaves = Math.max(1, Math.ceil(kept / LEAF_LOADED))
    if (this.slot.length < leaves) {
      // A little spare, so that the first split does not copy it all.
      const capacity = leaves + 1 + (leaves >> 4)
      this.cells = new Float64Array(capacity * CELLS)
      this.best = new Float64Array(capacity)
      this.length = new Uint8Array(capacity)
      this.slot = new Uint32Array(capacity)
    }
    const cells = this.cells
    let from = 0
    for (let leaf = 0; leaf < leaves; leaf++) {
      const length = Math.min(LEAF_LOADED, kept - from)
      const base = leaf * CELLS
      for (let i = 0; i < length; i++) {
        cells[base + i] = keys[from + i]
        cells[base + LEAF + i] = values[from + i]
      }
      from += length
      this.slot[leaf] = leaf
      this.length[leaf] = length
      if (length > 0) this.best[leaf] = keys[from - 1]
    }
    this.leaves = leaves
    this.slots = leaves
    this.count = kept
  }

  /** Where the worst level of the view stands now. */
  private findEdge(): void {
    if (this.count <= this.depth) {
      this.edge = -Infinity
      this.edgeLeaf = 0
      this.edgeAt = this.slot[0] * CELLS
      return
    }
    let leaf = this.leaves - 1
    let rest = this.depth
    while (rest > this.length[leaf]) rest -= this.length[leaf--]
    this.edgeLeaf = leaf
    this.edgeAt = this.slot[leaf] * CELLS + this.length[leaf] - rest
    this.edge = this.cells[this.edgeAt]
  }

  /** From the touched levels (none of them worse than the old edge) to the view's difference. */
  private differ(touched: number, moved: boolean): void {
    const oldEdge = this.edge
    // An infinite depth keeps its edge at -Infinity.
    if (moved && this.depth !== Infinity) this.findEdge()
    const edge = this.edge
    if (touched > 1) touched = distinct(touched)
    const difference = this.difference
    if (difference.price.length < 2 * touched) difference.ensure(2 * touched)
    const outPrice = difference.price
    const outSize = difference.size
    const keys = scratch.key
    const befores = scratch.before
    const afters = scratch.after
    const sign = this.sign
    let out = 0
    let i = 0
    for (; i < touched; i++) {
      const key = keys[i]
      if (key < edge) break
      const before = befores[i]
      const after = afters[i]
      if (before === after) continue
      if (before < 0 && after < 0 && this.wide.sizeText(before) === this.wide.sizeText(after)) {
        continue
      }
      outPrice[out] = sign * key
      outSize[out] = after
      out++
    }
    if (edge < oldEdge) out = this.enter(oldEdge, out)
    else if (edge > oldEdge) out = this.leave(oldEdge, i, touched, out)
    difference.count = out
  }

  /** Adds the levels from the new edge up to the old one: all of them are new to the view. */
  private enter(oldEdge: number, out: number): number {
    const { price, size } = this.difference
    const cells = this.cells
    const first = out
    let leaf = this.edgeLeaf
    let at = this.edgeAt
    let end = this.slot[leaf] * CELLS + this.length[leaf]
    for (;;) {
      if (at === end) {
        if (++leaf >= this.leaves) break
        at = this.slot[leaf] * CELLS
        end = at + this.length[leaf]
        continue
      }
      if (cells[at] >= oldEdge) break
      price[out] = this.sign * cells[at]
      size[out] = cells[at + LEAF]
      out++
      at++
    }
    for (let i = first, k = out - 1; i < k; i++, k--) {
      const p = price[i]
      price[i] = price[k]
      price[k] = p
      const s = size[i]
      size[i] = size[k]
      size[k] = s
    }
    return out
  }

  /**
   * Deletes what was in the view and is worse than the new edge now: levels of the tree down to the
   * old edge but for those this frame added, and touched ones that are gone altogether.
   */
  private leave(oldEdge: number, i: number, touched: number, out: number): number {
    const { price, size } = this.difference
    const cells = this.cells
    const keys = scratch.key
    const befores = scratch.before
    let leaf = this.edgeLeaf
    let base = this.slot[leaf] * CELLS
    let at = this.edgeAt - 1
    for (;;) {
      while (at < base && leaf > 0) {
        leaf--
        base = this.slot[leaf] * CELLS
        at = base + this.length[leaf] - 1
      }
      const inTree = at >= base && cells[at] >= oldEdge ? cells[at] : -Infinity
      const touch = i < touched ? keys[i] : -Infinity
      if (inTree === -Infinity && touch === -Infinity) return out
      const key = inTree > touch ? inTree : touch
      const wasThere = inTree > touch || befores[i] !== 0
      if (touch === key) i++
      if (inTree === key) at--
      if (wasThere) {
        price[out] = this.sign * key
        size[out] = 0
        out++
      }
    }
  }

  /** Makes room in a full leaf for one more at `position`. */
  private split(leaf: number, position: number): void {
    // A price that runs away upwards leaves well filled leaves behind.
    const runaway = leaf === this.leaves - 1 && position === LEAF
    const keep = runaway ? LEAF - LEAF / 8 : LEAF / 2
    this.insertLeaf(leaf + 1)
    const from = this.slot[leaf] * CELLS
    const to = this.slot[leaf + 1] * CELLS
    this.cells.copyWithin(to, from + keep, from + LEAF)
    this.cells.copyWithin(to + LEAF, from + LEAF + keep, from + CELLS)
    this.length[leaf + 1] = LEAF - keep
    this.best[leaf + 1] = this.best[leaf]
    this.length[leaf] = keep
    this.best[leaf] = this.cells[from + keep - 1]
  }

  /** Joins a small leaf to a neighbour where both fit well, and drops it when it is empty. */
  private shrink(leaf: number): void {
    const length = this.length
    if (length[leaf] === 0) {
      this.removeLeaf(leaf)
    } else if (leaf + 1 < this.leaves && length[leaf] + length[leaf + 1] < MERGE_BELOW) {
      this.merge(leaf)
    } else if (leaf > 0 && length[leaf - 1] + length[leaf] < MERGE_BELOW) {
      this.merge(leaf - 1)
    }
  }

  /** Joins `leaf` and the better one after it. */
  private merge(leaf: number): void {
    const to = this.slot[leaf] * CELLS
    const from = this.slot[leaf + 1] * CELLS
    const kept = this.length[leaf]
    const added = this.length[leaf + 1]
    this.cells.copyWithin(to + kept, from, from + added)
    this.cells.copyWithin(to + LEAF + kept, from + LEAF, from + LEAF + added)
    this.length[leaf] = kept + added
    this.best[leaf] = this.best[leaf + 1]
    this.removeLeaf(leaf + 1)
  }

  private insertLeaf(at: number): void {
    if (this.leaves === this.slot.length) this.grow()
    const leaves = this.leaves
    const free = leaves < this.slots ? this.slot[leaves] : this.slots++
    this.slot.copyWithin(at + 1, at, leaves)
    this.length.copyWithin(at + 1, at, leaves)
    this.best.copyWithin(at + 1, at, leaves)
    this.slot[at] = free
    this.leaves++
  }

  private removeLeaf(at: number): void {
    const leaves = this.leaves
    const free = this.slot[at]
    this.slot.copyWithin(at, at + 1, leaves)
    this.length.copyWithin(at, at + 1, leaves)
    this.best.copyWithin(at, at + 1, leaves)
    this.leaves--
    this.slot[this.leaves] = free
  }

  private grow(): void {
    const capacity = this.slot.length
    const grown = capacity + Math.max(2, capacity >> 2)
    const cells = new Float64Array(grown * CELLS)
    cells.set(this.cells)
    this.cells = cells
    const best = new Float64Array(grown)
    best.set(this.best)
    this.best = best
    const length = new Uint8Array(grown)
    length.set(this.length)
    this.length = length
    const slot = new Uint32Array(grown)
    slot.set(this.slot)
    this.slot = slot
  }
}

/** Up to this many, moving levels one by one beats merging. */
const INSERTION_MAX = 24

/** Sorts the touches best first, in order of arrival within a price. */
function sortTouches(count: number): void {
  const keys = scratch.key
  const befores = scratch.before
  const afters = scratch.after
  for (let from = 0; from < count; from += INSERTION_MAX) {
    const to = from + INSERTION_MAX < count ? from + INSERTION_MAX : count
    for (let i = from + 1; i < to; i++) {
      const key = keys[i]
      if (keys[i - 1] >= key) continue
      const before = befores[i]
      const after = afters[i]
      let k = i
      while (k > from && keys[k - 1] < key) {
        keys[k] = keys[k - 1]
        befores[k] = befores[k - 1]
        afters[k] = afters[k - 1]
        k--
      }
      keys[k] = key
      befores[k] = before
      afters[k] = after
    }
  }
  for (let width = INSERTION_MAX; width < count; width *= 2) mergeRuns(count, width)
}

/** Merges neighbouring sorted runs of `width` and leaves the result in the first columns. */
function mergeRuns(count: number, width: number): void {
  const { key, before, after, key2, before2, after2 } = scratch
  for (let from = 0; from < count; from += 2 * width) {
    let left = from
    const leftEnd = from + width < count ? from + width : count
    let right = leftEnd
    const rightEnd = from + 2 * width < count ? from + 2 * width : count
    for (let out = from; out < rightEnd; out++) {
      const takeLeft = left < leftEnd && (right >= rightEnd || key[left] >= key[right])
      const at = takeLeft ? left++ : right++
      key2[out] = key[at]
      before2[out] = before[at]
      after2[out] = after[at]
    }
  }
  scratch.key = key2
  scratch.before = before2
  scratch.after = after2
  scratch.key2 = key
  scratch.before2 = before
  scratch.after2 = after
}

/** Sorts the touches and joins those of one price: its first size before, its last after. */
function distinct(count: number): number {
  sortTouches(count)
  const { key, before, after } = scratch
  let kept = 0
  for (let i = 1; i < count; i++) {
    if (key[i] === key[kept]) {
      after[kept] = after[i]
      continue
    }
    kept++
    if (kept === i) continue
    key[kept] = key[i]
    before[kept] = before[i]
    after[kept] = after[i]
  }
  return kept + 1
}
