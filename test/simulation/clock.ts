/** Virtual time and seeded chance: the event queue that every simulated world runs on. */
import type { Timer } from '../../src/core/environment.ts'

/** A named stream of random numbers (sfc32): streams of one seed do not disturb each other. */
export class Random {
  #a: number
  #b: number
  #c: number
  #d = 1

  constructor(seed: number, name: string) {
    let hash = 0x811c9dc5
    for (let i = 0; i < name.length; i++) {
      hash = Math.imul(hash ^ name.charCodeAt(i), 0x01000193)
    }
    this.#a = seed | 0
    this.#b = Math.floor(seed / 4294967296) | 0
    this.#c = hash
    for (let i = 0; i < 15; i++) this.next()
  }

  /** Uniform in [0, 1). */
  next(): number {
    const t = (this.#a + this.#b + this.#d) | 0
    this.#d = (this.#d + 1) | 0
    this.#a = this.#b ^ (this.#b >>> 9)
    this.#b = (this.#c + (this.#c << 3)) | 0
    this.#c = ((this.#c << 21) | (this.#c >>> 11)) + t | 0
    return (t >>> 0) / 4294967296
  }

  /** Integer in [low, high]. */
  int(low: number, high: number): number {
    return low + Math.floor(this.next() * (high - low + 1))
  }

  chance(probability: number): boolean {
    return this.next() < probability
  }

  pick<T>(items: readonly T[]): T {
    return items[Math.floor(this.next() * items.length)]!
  }
}

class Scheduled implements Timer {
  readonly atUs: number
  readonly order: number
  callback: (() => void) | undefined

  constructor(atUs: number, order: number, callback: () => void) {
    this.atUs = atUs
    this.order = order
    this.callback = callback
  }

  cancel(): void {
    this.callback = undefined
  }
}

/**
 * Promise jobs that one event sets off are run to their end before the next event: each turn here
 * lets every job run that is queued by then, and chains are shorter than this.
 */
const TURNS = 24

/** Events ordered by time, then by insertion. The wall clock is apart and may step. */
export class VirtualClock {
  /** Virtual microseconds since the world began; never steps back. */
  timeUs = 0
  /** Events that have run. */
  events = 0
  /** What the wall clock shows beyond `timeUs`. */
  wallOffsetUs: number
  readonly #heap: Scheduled[] = []
  #order = 0

  constructor(wallStartUs: number) {
    this.wallOffsetUs = wallStartUs
  }

  nowUs(): number {
    return this.timeUs + this.wallOffsetUs
  }

  /** Runs `callback` once, `delayUs` from now (rounded, at least at once). */
  after(delayUs: number, callback: () => void): Timer {
    const delay = delayUs > 0 ? Math.round(delayUs) : 0
    const scheduled = new Scheduled(this.timeUs + delay, this.#order++, callback)
    this.#insert(scheduled)
    return scheduled
  }

  /**
   * Runs events until virtual time `untilUs`, `stop` says so, or nothing is left; `settled` is
   * called after each event and the promise jobs that it set off.
   */
  async run(untilUs: number, settled: () => void, stop: () => boolean): Promise<void> {
    for (;;) {
      const next = this.#heap[0]
      if (next === undefined || next.atUs > untilUs) {
        this.timeUs = untilUs
        return
      }
      this.#removeFirst()
      const callback = next.callback
      if (callback === undefined) continue
      next.callback = undefined
      this.timeUs = next.atUs
      this.events++
      callback()
      for (let i = 0; i < TURNS; i++) await undefined
      settled()
      if (stop()) return
    }
  }

  #insert(item: Scheduled): void {
    const heap = this.#heap
    let i = heap.length
    heap.push(item)
    while (i > 0) {
      const parent = (i - 1) >> 1
      if (!before(item, heap[parent]!)) break
      heap[i] = heap[parent]!
      i = parent
    }
    heap[i] = item
  }

  #removeFirst(): void {
    const heap = this.#heap
    const item = heap.pop()!
    const length = heap.length
    if (length === 0) return
    let i = 0
    for (;;) {
      let child = 2 * i + 1
      if (child >= length) break
      if (child + 1 < length && before(heap[child + 1]!, heap[child]!)) child++
      if (!before(heap[child]!, item)) break
      heap[i] = heap[child]!
      i = child
    }
    heap[i] = item
  }
}

function before(a: Scheduled, b: Scheduled): boolean {
  return a.atUs < b.atUs || (a.atUs === b.atUs && a.order < b.order)
}
