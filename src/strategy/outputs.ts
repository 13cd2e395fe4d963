/** What a handler asked for, held until it has returned: one that throws has asked for nothing. */
import type { Intent } from '../orders/broker.ts'
import type { TrackedOrder } from '../orders/order.ts'
import type { Book, Json, Order } from './contract.ts'

export type Output =
  | { readonly type: 'intent'; readonly intent: Intent }
  | { readonly type: 'cancel'; readonly id: string }
  /** A version to record; `tell`: also to hand to `onOrder`. */
  | { readonly type: 'version'; readonly order: Order; readonly tell: boolean }
  | {
    readonly type: 'signal'
    readonly name: string
    readonly value: number
    readonly book: Book | undefined
  }
  | { readonly type: 'state'; readonly key: string; readonly value: Json }
  | { readonly type: 'log'; readonly text: string; readonly fields: object | undefined }

export class Outputs {
  #held: Output[] = []
  #orders: TrackedOrder[] = []

  get isEmpty(): boolean {
    return this.#held.length === 0
  }

  add(output: Output): void {
    this.#held.push(output)
  }

  /** An order that this handler made. */
  made(order: TrackedOrder): void {
    this.#orders.push(order)
  }

  take(): Output[] {
    const held = this.#held
    this.#held = []
    this.#orders = []
    return held
  }

  /** Forgets all; returns the orders that must not have been. */
  drop(): TrackedOrder[] {
    const orders = this.#orders
    this.#held = []
    this.#orders = []
    return orders
  }
}
