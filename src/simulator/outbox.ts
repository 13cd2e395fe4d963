/** What a simulated exchange sends: frames now, acknowledgements and snapshots when they are due. */
import type { Ack, Connection, Pending, Subscription } from './connection.ts'
import type { Publisher } from './publisher.ts'
import type { ExchangeOptions, ExchangeOutput, ExchangeRules, ExchangeStats } from './rules.ts'

const encoder = new TextEncoder()

/** Answers of one connection leave in order; snapshots before or after theirs, as is the habit. */
export class Outbox {
  readonly #output: ExchangeOutput
  readonly #stats: ExchangeStats
  readonly #publisher: Publisher
  readonly #first: 'ack' | 'data'
  readonly #ackDelayMs: number

  constructor(
    rules: ExchangeRules,
    options: ExchangeOptions,
    output: ExchangeOutput,
    stats: ExchangeStats,
    publisher: Publisher,
  ) {
    this.#output = output
    this.#stats = stats
    this.#publisher = publisher
    this.#first = options.first ?? rules.first
    this.#ackDelayMs = options.ackDelayMs ?? 5
  }

  send(connection: Connection, bytes: Uint8Array, nowMs: number, isNumbered: boolean): void {
    if (connection.closed) return
    if (isNumbered) connection.sequence++
    connection.lastSentMs = nowMs
    connection.frames++
    connection.bytes += bytes.length
    this.#stats.framesSent++
    this.#stats.bytesSent += bytes.length
    this.#output.frame(connection.id, bytes)
  }

  sendText(connection: Connection, text: string, nowMs: number, isNumbered: boolean): void {
    this.send(connection, encoder.encode(text), nowMs, isNumbered)
  }

  /** Queues an answer. */
  acknowledge(
    connection: Connection,
    make: (nowMs: number) => string,
    nowMs: number,
    delayMs: number = this.#ackDelayMs,
  ): Ack {
    const ack = { dueMs: nowMs + delayMs, sent: false, make }
    connection.acks.push(ack)
    return ack
  }

  /** An answer to be queued: where data comes first it waits for them. */
  newAck(make: (nowMs: number) => string, nowMs: number): Ack {
    const dueMs = this.#first === 'data' ? Infinity : nowMs + this.#ackDelayMs
    return { dueMs, sent: false, make }
  }

  queue(connection: Connection, ack: Ack, nowMs: number): void {
    if (ack.dueMs === Infinity && !connection.pending.some((one) => one.ack === ack)) {
      ack.dueMs = nowMs + this.#ackDelayMs
    }
    connection.acks.push(ack)
  }

  /** Its snapshot is not sent any more; its acknowledgement still is, and need not wait. */
  unsubscribed(subscription: Subscription, nowMs: number): void {
    const { connection } = subscription
    connection.pending = connection.pending.filter((one) => one.subscription !== subscription)
    for (const ack of connection.acks) {
      if (ack.dueMs !== Infinity || connection.pending.some((one) => one.ack === ack)) continue
      ack.dueMs = nowMs
    }
  }

  /** Sends what is due; gives the levels that are left of this tick's. */
  sendDue(connection: Connection, levels: number, nowMs: number, numbersAcks: boolean): number {
    if (this.#first === 'ack') this.#sendAcks(connection, nowMs, numbersAcks)
    const left = this.#sendSnapshots(connection, levels, nowMs)
    this.#sendAcks(connection, nowMs, numbersAcks)
    return left
  }

  /** When `sendDue` has something to send, as of its last call at `nowMs`. */
  dueMs(connection: Connection, nowMs: number): number {
    const ackMs = connection.acks.length > 0 ? connection.acks[0]!.dueMs : Infinity
    let due = ackMs
    for (const pending of connection.pending) {
      const waits = this.#waitsForAck(pending) ? ackMs : nowMs
      due = Math.min(due, Math.max(waits, pending.fromMs))
    }
    return due
  }

  #waitsForAck({ ack }: Pending): boolean {
    return this.#first === 'ack' && ack !== undefined && !ack.sent
  }

  #sendSnapshots(connection: Connection, levels: number, nowMs: number): number {
    let left = levels
    let at = 0
    while (left > 0 && at < connection.pending.length && !connection.closed) {
      if (this.#output.ready?.(connection.id) === false) break
      const pending = connection.pending[at]!
      if (pending.fromMs > nowMs || this.#waitsForAck(pending)) {
        at++
        continue
      }
      connection.pending.splice(at, 1)
      left -= this.#publisher.snapshot(pending.subscription, nowMs)
      const { ack } = pending
      if (ack !== undefined && ack.dueMs === Infinity) ack.dueMs = nowMs + this.#ackDelayMs
    }
    return left
  }

  #sendAcks(connection: Connection, nowMs: number, isNumbered: boolean): void {
    while (connection.acks.length > 0 && connection.acks[0]!.dueMs <= nowMs) {
      const ack = connection.acks.shift()!
      ack.sent = true
      this.sendText(connection, ack.make(nowMs), nowMs, isNumbered)
      if (connection.closed) return
    }
  }
}
