/** All orders of a run that matter: the open ones, and those that ended of late. */
import type { BookRef } from '../strategy/contract.ts'
import type { TrackedOrder } from './order.ts'

/** Ended orders that are kept for late fills. */
const ENDED_KEPT = 10_000

export class OrderTable {
  /** In the order of creation. */
  readonly #open: Map<string, TrackedOrder> = new Map()
  readonly #ended: Map<string, TrackedOrder> = new Map()

  get openCount(): number {
    return this.#open.size
  }

  get unknownCount(): number {
    let count = 0
    for (const order of this.#open.values()) if (order.state === 'unknown') count++
    return count
  }

  add(order: TrackedOrder): void {
    if (order.isOpen) this.#open.set(order.intent.id, order)
    else this.#end(order)
  }

  get(id: string): TrackedOrder | undefined {
    return this.#open.get(id) ?? this.#ended.get(id)
  }

  /** Call it after a change: an order that ended leaves the open ones. */
  settle(order: TrackedOrder): void {
    if (order.isOpen || !this.#open.delete(order.intent.id)) return
    this.#end(order)
  }

  /** Takes an order out that must not have existed. */
  drop(order: TrackedOrder): void {
    this.#open.delete(order.intent.id)
    this.#ended.delete(order.intent.id)
  }

  /** Oldest first. */
  *open(ref?: BookRef): Generator<TrackedOrder> {
    for (const order of this.#open.values()) {
      if (ref === undefined || order.intent.book === ref) yield order
    }
  }

  #end(order: TrackedOrder): void {
    this.#ended.set(order.intent.id, order)
    if (this.#ended.size <= ENDED_KEPT) return
    for (const id of this.#ended.keys()) {
      this.#ended.delete(id)
      break
    }
  }
}
