/** REST snapshots: asked for in order, few at a time, patiently, and only for sessions that live. */
import { overrideEndpoint } from '../core/endpoint.ts'
import type { Environment, HttpResponse, Timer } from '../core/environment.ts'

const CONCURRENCY = 2
const TIMEOUT_MS = 10_000
const BACKOFF_CAP_MS = 30_000
/** How long everything waits after "too many requests" without a `Retry-After`. */
const RATE_LIMITED_MS = 10_000

/** Who wants a snapshot: one per socket, so that what an old socket asked for dies with it. */
export interface SnapshotReceiver {
  snapshotReceived(index: number, body: string, receivedUs: number): void
  /** The exchange will not serve this one (4xx); not asked again. */
  snapshotRefused(index: number, status: number, body: string): void
}

interface Job {
  readonly receiver: SnapshotReceiver
  readonly index: number
  readonly url: string
  readonly notBeforeMs: number
  readonly attempts: number
}

/** One queue per worker: the exchange counts requests per address, not per socket. */
export class SnapshotQueue {
  readonly #environment: Environment
  readonly #restUrl: string | undefined
  #waiting: Job[] = []
  readonly #running = new Map<Job, Timer | undefined>()
  #pausedUntilMs = -Infinity
  #timer: Timer | undefined

  constructor(environment: Environment, restUrl: string | undefined) {
    this.#environment = environment
    this.#restUrl = restUrl
  }

  /** A later request of the same receiver and index replaces the earlier one. */
  request(receiver: SnapshotReceiver, index: number, url: string): void {
    this.#drop((job) => job.receiver === receiver && job.index === index)
    this.#waiting.push({
      receiver,
      index,
      url: overrideEndpoint(url, this.#restUrl),
      notBeforeMs: -Infinity,
      attempts: 0,
    })
    this.#pump()
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
    while (this.#running.size < CONCURRENCY && now >= this.#pausedUntilMs) {
      const at = this.#waiting.findIndex((job) => job.notBeforeMs <= now)
      if (at < 0) break
      this.#run(this.#waiting.splice(at, 1)[0])
    }
    if (this.#waiting.length === 0 || this.#running.size >= CONCURRENCY) return
    const first = Math.min(...this.#waiting.map((job) => job.notBeforeMs))
    const waitMs = Math.max(1, Math.ceil(Math.max(first, this.#pausedUntilMs) - now))
    this.#timer = this.#environment.setTimer(waitMs, () => this.#pump())
  }

  #run(job: Job): void {
    // Noted first: the answer may come before `httpGet` returns.
    this.#running.set(job, undefined)
    const request = this.#environment.httpGet(job.url, TIMEOUT_MS, (response) => {
      if (!this.#running.delete(job)) return
      this.#answered(job, response)
      this.#pump()
    })
    if (this.#running.has(job)) this.#running.set(job, request)
  }

  #answered(job: Job, response: HttpResponse): void {
    const { status } = response
    if (status === 200) {
      job.receiver.snapshotReceived(job.index, response.body, this.#environment.nowUs())
      return
    }
    const now = this.#environment.monotonicMs()
    if (status === 429 || status === 418 || response.retryAfterMs !== undefined) {
      // Said to this address, so it holds for every request.
      this.#pausedUntilMs = now + Math.max(response.retryAfterMs ?? RATE_LIMITED_MS, 1000)
    } else if (status >= 400 && status < 500 && status !== 408) {
      job.receiver.snapshotRefused(job.index, status, response.body)
      return
    }
    const backoffMs = Math.min(BACKOFF_CAP_MS, 1000 * 2 ** Math.min(job.attempts, 10))
    this.#waiting.push({
      ...job,
      attempts: job.attempts + 1,
      notBeforeMs: now + backoffMs * (0.5 + 0.5 * this.#environment.random()),
    })
  }
}
