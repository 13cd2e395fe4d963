/** What is due later, in the order in which it happens. */

/** Of the same instant: what the exchange's stream brings comes before all of these. */
export const RANK = {
  /** An order or a cancel reaches the exchange. */
  arrival: 0,
  /** An answer reaches us. */
  answer: 1,
  timer: 2,
} as const
export type Rank = typeof RANK[keyof typeof RANK]

export interface Action {
  run(): void
}

interface Entry {
  readonly dueUs: number
  readonly rank: Rank
  /** Order of creation. */
  readonly order: number
  readonly action: Action
}

function before(a: Entry, b: Entry): boolean {
  if (a.dueUs !== b.dueUs) return a.dueUs < b.dueUs
  return a.rank !== b.rank ? a.rank < b.rank : a.order < b.order
}

/** A heap by time, then rank, then order of creation. */
export class Schedule {
  /** The instant that is being lived through. */
  nowUs = 0
  readonly #heap: Entry[] = []
  #created = 0

  /** When the next action is due; Infinity: none is. */
  get nextUs(): number {
    return this.#heap.length === 0 ? Infinity : this.#heap[0]!.dueUs
  }

  get size(): number {
    return this.#heap.length
  }

  /** What is due in the past is due now. */
  at(dueUs: number, rank: Rank, action: Action): void {
    const heap = this.#heap
    const entry = { dueUs: Math.max(dueUs, this.nowUs), rank, order: this.#created++, action }
    let i = heap.length
    heap.push(entry)
    while (i > 0) {
      const parent = (i - 1) >> 1
      if (!before(entry, heap[parent]!)) break
      heap[i] = heap[parent]!
      i = parent
    }
    heap[i] = entry
  }

  /** Runs what is due before `us`, each at its own time; then it is `us`. Time never goes back. */
  runBefore(us: number): void {
    while (this.nextUs < us) this.#runNext()
    if (us > this.nowUs) this.nowUs = us
  }

  /** The same with what is due at `us` itself. */
  runUpTo(us: number): void {
    while (this.nextUs <= us) this.#runNext()
    if (us > this.nowUs) this.nowUs = us
  }

  #runNext(): void {
    const heap = this.#heap
    const first = heap[0]!
    const last = heap.pop()!
    if (heap.length > 0) {
      let i = 0
      while (true) {
        let child = 2 * i + 1
        if (child >= heap.length) break
        if (child + 1 < heap.length && before(heap[child + 1]!, heap[child]!)) child++
        if (!before(heap[child]!, last)) break
        heap[i] = heap[child]!
        i = child
      }
      heap[i] = last
    }
    if (first.dueUs > this.nowUs) this.nowUs = first.dueUs
    first.action.run()
  }
}
