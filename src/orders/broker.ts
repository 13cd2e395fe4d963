/**
 * What carries orders to an exchange: the paper exchange or a live one. Calls return nothing; what
 * becomes of them comes as events, in the order in which it became known.
 */
import type { BookRef } from '../strategy/contract.ts'

/** An order that passed grid and risk. Never changes, and is never sent twice. */
export interface Intent {
  /** `[a-z0-9]{18}`; see `order-id.ts`. */
  readonly id: string
  readonly book: BookRef
  readonly side: 'buy' | 'sell'
  /** Exact, on the tick. */
  readonly price: string
  /** Exact, on the step. */
  readonly size: string
  /** Price as an integer of the book's price decimals. */
  readonly priceUnits: number
  /** Size as an integer of the step's decimals. */
  readonly sizeUnits: number
  readonly tif: 'GTC' | 'IOC' | 'FOK'
  readonly postOnly: boolean
  readonly reduceOnly: boolean
  readonly tag: string | undefined
  /** The book it was decided on. */
  readonly epoch: number
  readonly seq: number
  readonly bookUs: number
  readonly decidedUs: number
}

interface OrderEvent {
  /** Client id of the order. */
  readonly id: string
  /** When it became known to us. */
  readonly atUs: number
}

export interface FillEvent extends OrderEvent {
  readonly type: 'fill'
  /** The exchange's id of the trade. */
  readonly trade: string
  readonly price: string
  readonly size: string
  readonly fee: string
  readonly feeCurrency: string
  readonly liquidity: 'maker' | 'taker'
  readonly timestampUs: number
}

export type BrokerEvent =
  /** Handed over to the network. */
  | OrderEvent & { readonly type: 'sent' }
  /** Accepted. */
  | OrderEvent & { readonly type: 'open'; readonly exchangeId: string }
  /** Definitely not accepted. */
  | OrderEvent & { readonly type: 'rejected'; readonly reason: string }
  | FillEvent
  | OrderEvent & { readonly type: 'canceled'; readonly reason?: string }
  | OrderEvent & { readonly type: 'expired'; readonly reason?: string }
  /** The order lives on: the exchange would not cancel it. */
  | OrderEvent & { readonly type: 'cancelRejected'; readonly reason: string }
  /** Whether it was accepted, or lives, cannot be told now. */
  | OrderEvent & { readonly type: 'unknown'; readonly reason: string }
  /** Proven: it was never accepted. Only from unknown. */
  | OrderEvent & { readonly type: 'absent' }

/** An open order as the exchange lists it; `id` is empty for one that is not ours. */
export interface ListedOrder {
  readonly id: string
  readonly exchangeId: string
  readonly side: 'buy' | 'sell'
  readonly price: string
  readonly size: string
  readonly filled: string
}

export interface BrokerEvents {
  answered(event: BrokerEvent): void
  /** Answers `listOpen`. */
  listed(ref: BookRef, orders: readonly ListedOrder[]): void
}

export interface Broker {
  /** Whether our resting orders are part of the books that strategies read. */
  readonly showsInBook: boolean
  submit(intent: Intent): void
  cancel(id: string): void
  /** Asks what became of an order; the answer is whatever event is the truth. */
  query(id: string): void
  listOpen(ref: BookRef): void
  /** Of one book, or of all. */
  cancelAll(ref?: BookRef): void
  /** The exchange cancels everything unless armed again within `ms`; 0 disarms. */
  arm(ms: number): void
  /** Resolves when nothing is under way any more. Cancels nothing by itself. */
  close(): Promise<void>
  /** Estimated size before a resting order at its price; undefined when that is not known. */
  ahead(id: string): number | undefined
}
