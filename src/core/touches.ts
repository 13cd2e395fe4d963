/**
 * The levels that one frame touched in one side, or that a load gathered: columns shared by all
 * sides, and their order.
 */

/** Nothing in it outlives a call; sorting may swap the columns, so read them again after it. */
export const touches = {
  key: new Float64Array(1024),
  /** The size before the frame, 0 = not there; of a load the only size. */
  before: new Float64Array(1024),
  after: new Float64Array(1024),
  /** Where runs are merged to. */
  key2: new Float64Array(1024),
  before2: new Float64Array(1024),
  after2: new Float64Array(1024),
}

/** Room for `capacity` touches; what is in it is lost. */
export function ensureTouches(capacity: number): void {
  if (touches.key.length >= capacity) return
  const grown = Math.max(capacity, touches.key.length * 2)
  touches.key = new Float64Array(grown)
  touches.before = new Float64Array(grown)
  touches.after = new Float64Array(grown)
  touches.key2 = new Float64Array(grown)
  touches.before2 = new Float64Array(grown)
  touches.after2 = new Float64Array(grown)
}

/** Up to this many, moving levels one by one beats merging. */
const INSERTION_MAX = 24

/** Sorts the touches best first, in order of arrival within a price. */
export function sortTouches(count: number): void {
  const keys = touches.key
  const befores = touches.before
  const afters = touches.after
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
  const { key, before, after, key2, before2, after2 } = touches
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
  touches.key = key2
  touches.before = before2
  touches.after = after2
  touches.key2 = key
  touches.before2 = before
  touches.after2 = after
}

/** Sorts the touches and joins those of one price: its first size before, its last after. */
export function distinctTouches(count: number): number {
  sortTouches(count)
  const { key, before, after } = touches
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
