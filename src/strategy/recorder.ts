/**
 * What a run takes in and gives out, in order. Inputs are told before their handler runs, outputs
 * after it, and only when it did not throw: a journal, topics and reports are recorders.
 */
import type { BrokerEvent, Intent } from '../orders/broker.ts'
import type { Book, BookRef, Fill, Json, Order } from './contract.ts'

export interface Recorder {
  // Inputs.
  started?(nowUs: number): void
  book?(book: Book, skipped: number, nowUs: number): void
  invalid?(ref: BookRef, reason: string, nowUs: number): void
  timer?(name: string, nowUs: number): void
  answer?(event: BrokerEvent, nowUs: number): void
  stopped?(nowUs: number): void
  // Outputs.
  /** Before it is handed to the broker: what is durable here was intended, sent or not. */
  intent?(intent: Intent, nowUs: number): void
  cancel?(id: string, nowUs: number): void
  /** `book`: what it was decided on, when it is about one. */
  signal?(name: string, value: number, book: Book | undefined, nowUs: number): void
  state?(key: string, value: Json, nowUs: number): void
  /** Every version of every order, refusals too. */
  order?(order: Order, nowUs: number): void
  fill?(fill: Fill, nowUs: number): void
  log?(text: string, fields: object | undefined, nowUs: number): void
  /** No new order passes any more. */
  halted?(why: string, nowUs: number): void
}
