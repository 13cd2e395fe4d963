/** The best `depth` levels of one side, and exactly what one frame changed in them. */
import { CELLS, LEAF, type LevelTree } from './level-tree.ts'
import { distinctTouches, touches } from './touches.ts'
import type { WideTable } from './wide.ts'

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

export class SideView {
  readonly difference: SideDifference = new SideDifference()
  /** Key of the worst level in the view; -Infinity when the whole side is in it. */
  edge = -Infinity

  private readonly tree: LevelTree
  private readonly sign: number
  private depth: number
  private readonly wide: WideTable
  private edgeLeaf = 0
  private edgeAt = 0

  /** `sign` makes prices of keys; a `depth` of Infinity is all levels. */
  constructor(tree: LevelTree, sign: number, depth: number, wide: WideTable) {
    this.tree = tree
    this.sign = sign
    this.depth = depth
    this.wide = wide
  }

  clear(): void {
    this.edge = -Infinity
    this.difference.count = 0
  }

  /** Shows so many levels from now on; `difference` stays what it is. */
  see(depth: number): void {
    this.depth = depth
    this.findEdge()
  }

  /** Where the worst level of the view stands now. */
  findEdge(): void {
    const { count, length, leaves, slot } = this.tree
    if (count <= this.depth) {
      this.edge = -Infinity
      this.edgeLeaf = 0
      this.edgeAt = slot[0] * CELLS
      return
    }
    let leaf = leaves - 1
    let rest = this.depth
    while (rest > length[leaf]) rest -= length[leaf--]
    this.edgeLeaf = leaf
    this.edgeAt = slot[leaf] * CELLS + length[leaf] - rest
    this.edge = this.tree.cells[this.edgeAt]
  }

  /** From the touched levels (none of them worse than the old edge) to the view's difference. */
  differ(touched: number, moved: boolean): void {
    const oldEdge = this.edge
    // An infinite depth keeps its edge at -Infinity.
    if (moved && this.depth !== Infinity) this.findEdge()
    const edge = this.edge
    if (touched > 1) touched = distinctTouches(touched)
    const difference = this.difference
    if (difference.price.length < 2 * touched) difference.ensure(2 * touched)
    const outPrice = difference.price
    const outSize = difference.size
    const keys = touches.key
    const befores = touches.before
    const afters = touches.after
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
    const { cells, length, leaves, slot } = this.tree
    const first = out
    let leaf = this.edgeLeaf
    let at = this.edgeAt
    let end = slot[leaf] * CELLS + length[leaf]
    for (;;) {
      if (at === end) {
        if (++leaf >= leaves) break
        at = slot[leaf] * CELLS
        end = at + length[leaf]
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
    const { cells, length, slot } = this.tree
    const keys = touches.key
    const befores = touches.before
    let leaf = this.edgeLeaf
    let base = slot[leaf] * CELLS
    let at = this.edgeAt - 1
    for (;;) {
      while (at < base && leaf > 0) {
        leaf--
        base = slot[leaf] * CELLS
        at = base + length[leaf] - 1
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
}
