/**
 * REST snapshots: the most wanted first, few at a time, within the exchange's budget, patiently, and
 * only for sessions that live.
 */
import { overrideEndpoint } from '../core/endpoint.ts'
import type { Environment, HttpResponse, Timer } from '../core/environment.ts'
import type { Address } from './address.ts'
import { SlidingWindow } from './budget.ts'
import type { SnapshotOutcome } from './stats.ts'

const CONCURRENCY = 2
const TIMEOUT_MS = 10_000
const BACKOFF_CAP_MS = 30_000
const WINDOW_MS = 60_000
/** Part of the exchange's limit that is used: its minutes are not ours, and others may ask, too. */
const MARGIN = 0.85

/** Who wants a snapshot: one per socket, so that what an old socket asked for dies with it. */
export interface SnapshotReceiver {
  /** `tookMs`: how long the answer was under way, and how old it may be. */
  snapshotReceived(index: number, body: string, receivedUs: number, tookMs: number): void
  /** The exchange will not serve this one (4xx); not asked again. */
  snapshotRefused(index: number, status: number, body: string): void
}

export interface SnapshotRequest {
  readonly url: string
  /** As the exchange weighs it. */
  readonly weight: number
  /** Lower ones go first. */
  readonly priority: number
  /** Not sooner than this; absent: as soon as may be. */
  readonly delayMs?: number
  /** A book waits for it; others leave half of the budget to those that are. */
  readonly isUrgent: boolean
}

export interface SnapshotQueueOptions {
  readonly restUrl: string | undefined
  /** Of all requests in any minute, this worker's share; Infinity: not limited. */
  readonly weightPerMinute: number
  readonly address: Address
  /** As `Adapter.isOwnError`. */
  isOwnError?: ((body: string) => boolean) | undefined
}

interface Job extends SnapshotRequest {
  readonly receiver: SnapshotReceiver
  readonly index: number
  readonly notBeforeMs: number
  readonly attempts: number
}

/** One queue per worker: the exchange counts requests per address, not per socket. */
export class SnapshotQueue {
  readonly answers: Record<SnapshotOutcome, number> = { ok: 0, refused: 0, limited: 0, failed: 0 }
  readonly #environment: Environment
  readonly #options: SnapshotQueueOptions
  readonly #weights: SlidingWindow
  #waiting: Job[] = []
  readonly #running = new Map<Job, Timer | undefined>()
  #timer: Timer | undefined

  constructor(environment: Environment, options: SnapshotQueueOptions) {
    this.#environment = environment
    this.#options = options
    this.#weights = new SlidingWindow(options.weightPerMinute * MARGIN, WINDOW_MS)
  }

  /** A later request of the same receiver and index replaces the earlier one. */
  request(receiver: SnapshotReceiver, index: number, request: SnapshotRequest): void {
    this.#drop((job) => job.receiver === receiver && job.index === index)
    this.#add({
      ...request,
      receiver,
      index,
      url: overrideEndpoint(request.url, this.#options.restUrl),
      notBeforeMs: this.#environment.monotonicMs() + (request.delayMs ?? 0),
      attempts: 0,
    })
    this.#pump()
  }

  /** Wanted and not there yet. */
  get waiting(): number {
    return this.#waiting.length + this.#running.size
  }

  /** Asked for and neither answered nor refused yet. */
  pending(receiver: SnapshotReceiver, index: number): boolean {
    const mine = (job: Job): boolean => job.receiver === receiver && job.index === index
    return this.#waiting.some(mine) || [...this.#running.keys()].some(mine)
  }

  /** Forgets all of a receiver's requests; none of them is answered any more. */
  cancel(receiver: SnapshotReceiver): void {
    this.#drop((job) => job.receiver === receiver)
    this.#pump()
  }

  stop(): void {
    this.#drop(() => true)
    this.#timer?.cancel()
    this.#timer = undefined
  }

  /** Behind those of the same priority. */
  #add(job: Job): void {
    const at = this.#waiting.findIndex(({ priority }) => priority > job.priority)
    this.#waiting.splice(at < 0 ? this.#waiting.length : at, 0, job)
  }

  #drop(matches: (job: Job) => boolean): void {
    this.#waiting = this.#waiting.filter((job) => !matches(job))
    for (const [job, request] of [...this.#running]) {
      if (!matches(job)) continue
      this.#running.delete(job)
      request?.cancel()
    }
  }

  #pump(): void {
    this.#timer?.cancel()
    this.#timer = undefined
    const now = this.#environment.monotonicMs()
    let heldMs = 0
    const { address } = this.#options
    const pausedMs = address.waitMs(now)
    const concurrency = address.isTrying ? 1 : CONCURRENCY
    while (this.#running.size < concurrency && pausedMs === 0) {
      const at = this.#waiting.findIndex((job) => job.notBeforeMs <= now)
      if (at < 0) break
      // A light one does not overtake: else the heavy ones would wait for ever.
      const { weight, isUrgent } = this.#waiting[at]
      heldMs = this.#weights.waitMs(now, weight, isUrgent ? 1 : 0.5)
      if (heldMs > 0) break
      const [job] = this.#waiting.splice(at, 1)
      this.#weights.take(now, job.weight)
      this.#run(job)
    }
    if (this.#waiting.length === 0 || this.#running.size >= concurrency) return
    const first = heldMs > 0 ? now + heldMs : Math.min(
      ...this.#waiting.map((job) => job.notBeforeMs),
    )
    const waitMs = Math.max(1, Math.ceil(Math.max(first - now, pausedMs)))
    this.#timer = this.#environment.setTimer(waitMs, () => this.#pump())
  }

  #run(job: Job): void {
    // Noted first: the answer may come before `httpGet` returns.
    this.#running.set(job, undefined)
    const askedMs = this.#environment.monotonicMs()
    const request = this.#environment.httpGet(job.url, TIMEOUT_MS, (response) => {
      if (!this.#running.delete(job)) return
      this.#answered(job, response, this.#environment.monotonicMs() - askedMs)
      this.#pump()
    })
    if (this.#running.has(job)) this.#running.set(job, request)
  }

  #answered(job: Job, response: HttpResponse, tookMs: number): void {
    const { status } = response
    const { address, isOwnError } = this.#options
    if (status === 200) {
      this.answers.ok++
      address.succeeded('REST request')
      const nowUs = this.#environment.nowUs()
      job.receiver.snapshotReceived(job.index, response.body, nowUs, tookMs)
      return
    }
    const now = this.#environment.monotonicMs()
    const isOwn = isOwnError?.(response.body) ?? false
    if (address.refused('REST request', response, isOwn)) {
      this.answers.limited++
      this.#add({ ...job, notBeforeMs: now })
      return
    }
    if (status >= 400 && status < 500 && status !== 408) {
      this.answers.refused++
      job.receiver.snapshotRefused(job.index, status, response.body)
      return
    } else this.answers.failed++
    const backoffMs = Math.min(BACKOFF_CAP_MS, 1000 * 2 ** Math.min(job.attempts, 10))
    this.#add({
      ...job,
      attempts: job.attempts + 1,
      notBeforeMs: now + backoffMs * (0.5 + 0.5 * this.#environment.random()),
    })
  }
}
