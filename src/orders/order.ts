/**
 * The states of one order. Every change is a new version; fills count once per trade id and may
 * come before `open`; an end takes late fills and nothing else.
 *
 *     refused            (grid or risk: never left)
 *     intent -> sent -> open -> partial -> filled | canceled | expired
 *                  |-> rejected            |-> canceling -> canceled | filled
 *                  |-> unknown -> any of the above, or absent (proven)
 */
import { scaledOf, textOfUnits } from '../core/exact.ts'
import type { Order, OrderState } from '../strategy/contract.ts'
import type { BrokerEvent, FillEvent, Intent } from './broker.ts'

const ENDS: ReadonlySet<OrderState> = new Set([
  'refused',
  'filled',
  'canceled',
  'expired',
  'rejected',
  'absent',
])

export function isEnd(state: OrderState): boolean {
  return ENDS.has(state)
}

export class TrackedOrder {
  readonly intent: Intent
  /** Version, from 1. */
  n = 1
  state: OrderState
  reason: string | undefined
  exchangeId: string | undefined = undefined
  /** Integer of the step's decimals. */
  filledUnits = 0n
  /** Distinct trades. */
  fills = 0
  /** Fills that came after an end. */
  lateFills = 0
  sentUs: number | undefined = undefined
  answeredUs: number | undefined = undefined
  readonly #sizeDecimals: number
  readonly #trades: Set<string> = new Set()

  constructor(intent: Intent, sizeDecimals: number, refused?: string) {
    this.intent = intent
    this.#sizeDecimals = sizeDecimals
    this.state = refused === undefined ? 'intent' : 'refused'
    this.reason = refused
  }

  get isOpen(): boolean {
    return !ENDS.has(this.state)
  }

  /** What may still be filled, in units of the size. */
  get remainingUnits(): number {
    const rest = this.intent.sizeUnits - Number(this.filledUnits)
    return rest > 0 ? rest : 0
  }

  /** A cancel was asked for. False: it changes nothing (ended, or asked already). */
  cancel(): boolean {
    if (!this.isOpen || this.state === 'canceling') return false
    // What is not known stays so until it is: a cancel alone tells nothing.
    if (this.state === 'unknown') return true
    this.state = 'canceling'
    this.n++
    return true
  }

  /**
   * False: it told nothing new, there is no new version.
   *
   * @throws {Error} a broker that proves absent what it did not call unknown
   */
  apply(event: BrokerEvent): boolean {
    if (event.type === 'fill') return this.#fill(event)
    if (!this.isOpen) return false
    switch (event.type) {
      case 'sent':
        if (this.sentUs !== undefined) return false
        this.sentUs = event.atUs
        if (this.state === 'intent') this.state = 'sent'
        break
      case 'open':
        if (this.exchangeId !== undefined && this.state !== 'unknown') return false
        this.exchangeId = event.exchangeId
        if (this.state !== 'canceling') this.#live()
        break
      case 'cancelRejected':
        if (this.state !== 'canceling') return false
        this.#live()
        this.reason = event.reason
        break
      case 'unknown':
        if (this.state === 'unknown') return false
        this.state = 'unknown'
        this.reason = event.reason
        break
      case 'absent':
        if (this.state !== 'unknown' || this.fills > 0) {
          throw new Error(`order ${this.intent.id} was called absent while ${this.state}`)
        }
        this.state = 'absent'
        break
      default:
        this.state = event.type
        this.reason = event.reason
    }
    this.answeredUs = event.atUs
    this.n++
    return true
  }

  #live(): void {
    this.state = this.fills > 0 ? 'partial' : 'open'
    this.reason = undefined
  }

  #fill(event: FillEvent): boolean {
    if (this.#trades.has(event.trade)) return false
    this.#trades.add(event.trade)
    this.fills++
    const { units, decimals } = scaledOf(event.size)
    const missing = this.#sizeDecimals - decimals
    if (missing < 0) {
      throw new Error(`fill ${event.trade} of ${event.size} is finer than the step`)
    }
    this.filledUnits += units * 10n ** BigInt(missing)
    if (!this.isOpen) this.lateFills++
    else if (this.filledUnits >= BigInt(this.intent.sizeUnits)) this.state = 'filled'
    else if (this.state !== 'canceling') this.#live()
    this.answeredUs = event.atUs
    this.n++
    return true
  }

  /** This version, to hand out. */
  version(ahead: number | undefined): Order {
    const { intent } = this
    return {
      id: intent.id,
      n: this.n,
      state: this.state,
      reason: this.reason,
      exchangeId: this.exchangeId,
      book: intent.book,
      side: intent.side,
      price: intent.price,
      size: intent.size,
      filled: textOfUnits(this.filledUnits, this.#sizeDecimals),
      tif: intent.tif,
      postOnly: intent.postOnly,
      reduceOnly: intent.reduceOnly,
      tag: intent.tag,
      ahead,
      epoch: intent.epoch,
      seq: intent.seq,
      bookUs: intent.bookUs,
      decidedUs: intent.decidedUs,
      sentUs: this.sentUs,
      answeredUs: this.answeredUs,
    }
  }
}
