/** Keeps reading which broker leads which partition: now and then, and soon after a failure. */
import type { Environment, Timer } from '../core/environment.ts'
import { backoffMs } from './group.ts'
import type { Wire } from './wire.ts'

const TIMEOUT_MS = 15_000
const INTERVAL_MS = 180_000

/** Whom it tells. */
export interface LeaderOwner {
  /** Broker id by partition. False: one is missing, so they are read again soon. */
  leadersRead(leaders: ReadonlyMap<number, number>): boolean
  /** They are read again soon. */
  leadersFailed(error: Error): void
}

export class LeaderWatch {
  readonly #environment: Environment
  readonly #wire: Wire
  readonly #owner: LeaderOwner
  #timer: Timer | undefined
  /** Tells the answer of the present call from a late one. */
  #call = 0
  #busy = false
  /** Something failed while the leaders were being read: what comes may be old already. */
  #again = false
  /** In a row. */
  #failures = 0
  #closed = false

  constructor(environment: Environment, wire: Wire, owner: LeaderOwner) {
    this.#environment = environment
    this.#wire = wire
    this.#owner = owner
  }

  /** Reads them now, and from then on as often as it takes. */
  read(): void {
    if (this.#busy || this.#closed) return
    this.#busy = true
    this.#again = false
    const call = ++this.#call
    this.#timer?.cancel()
    this.#timer = this.#environment.setTimer(
      TIMEOUT_MS,
      () => this.#failed(call, new Error(`no metadata within ${TIMEOUT_MS} ms`)),
    )
    this.#wire.leaders().then(
      (leaders) => this.#answered(call, leaders),
      (error: Error) => this.#failed(call, error),
    )
  }

  /** Something failed that new leaders may explain: reads them after a backoff. */
  readSoon(): void {
    if (this.#closed) return
    if (this.#busy) {
      this.#again = true
      return
    }
    this.#timer?.cancel()
    this.#timer = this.#environment.setTimer(
      backoffMs(this.#failures, this.#environment),
      () => this.read(),
    )
  }

  close(): void {
    this.#closed = true
    this.#call += 1
    this.#timer?.cancel()
  }

  #failed(call: number, error: Error): void {
    if (call !== this.#call) return
    this.#call += 1
    this.#busy = false
    this.#failures += 1
    this.#owner.leadersFailed(error)
    this.readSoon()
  }

  #answered(call: number, leaders: ReadonlyMap<number, number>): void {
    if (call !== this.#call) return
    this.#call += 1
    this.#busy = false
    if (!this.#owner.leadersRead(leaders)) {
      this.#failures += 1
      this.readSoon()
      return
    }
    this.#failures = 0
    if (this.#again) {
      this.readSoon()
      return
    }
    this.#timer?.cancel()
    this.#timer = this.#environment.setTimer(
      INTERVAL_MS * (0.8 + 0.4 * this.#environment.random()),
      () => this.read(),
    )
  }
}
