/**
 * A two-level B+ tree of levels in typed arrays: leaves of sorted keys and sizes, and the order of
 * the leaves. How one frame goes through it is in `side.ts`.
 *
 * A greater key is a better price. Leaves and the levels in them stand worst first: most changes
 * happen near the best price, and there they move few levels out of the way.
 */

/** Levels in a leaf at most. */
export const LEAF = 64
/** Levels in a leaf after a load: room for some inserts before it splits. */
const LEAF_LOADED = 52
/** A leaf's cells: its keys, then its sizes. */
export const CELLS = 2 * LEAF
/** Two neighbours with fewer levels than this together become one. */
const MERGE_BELOW = 28

/** The fields are open to the loops of `Side` and `SideView`, which are too hot for calls. */
export class LevelTree {
  /** Levels in all leaves. */
  count = 0
  /** Keys and sizes of leaf slot s: `[s * CELLS, s * CELLS + LEAF)` and the LEAF after it. */
  cells: Float64Array<ArrayBuffer> = new Float64Array(CELLS)
  /** Per leaf, worst first: its best key, its level count, its slot. At least one leaf. */
  best: Float64Array<ArrayBuffer> = new Float64Array(1)
  length: Uint8Array<ArrayBuffer> = new Uint8Array(1)
  slot: Uint32Array<ArrayBuffer> = new Uint32Array(1)
  leaves = 1
  /** Slots handed out so far; slots that came back stand behind the leaves in `slot`. */
  slots = 1

  clear(): void {
    this.count = 0
    this.leaves = 1
    this.slots = 1
    this.length[0] = 0
    this.slot[0] = 0
  }

  /** The best key; -Infinity when there is no level. */
  bestKey(): number {
    return this.count === 0 ? -Infinity : this.best[this.leaves - 1]
  }

  /** Replaces everything by these levels, worst first, without equal keys. */
  fill(keys: Float64Array, sizes: Float64Array, count: number): void {
    const leaves = Math.max(1, Math.ceil(count / LEAF_LOADED))
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
      const length = Math.min(LEAF_LOADED, count - from)
      const base = leaf * CELLS
      for (let i = 0; i < length; i++) {
        cells[base + i] = keys[from + i]
        cells[base + LEAF + i] = sizes[from + i]
      }
      from += length
      this.slot[leaf] = leaf
      this.length[leaf] = length
      if (length > 0) this.best[leaf] = keys[from - 1]
    }
    this.leaves = leaves
    this.slots = leaves
    this.count = count
  }

  /** Makes room in a full leaf for one more at `position`. */
  split(leaf: number, position: number): void {
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
  shrink(leaf: number): void {
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
