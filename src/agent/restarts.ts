/** When a dead worker starts again and when the agent gives up: pure, the clock comes in. */

/** Durations in ms. */
export interface RestartPolicy {
  /** Delay before the first restart; doubles with each further death. */
  readonly backoffMinMs: number
  readonly backoffMaxMs: number
  /** A worker that lived this long starts again with the smallest delay. */
  readonly stableMs: number
  /** Restarts of one worker within `budgetWindowMs`; the next death ends the agent. */
  readonly budget: number
  readonly budgetWindowMs: number
  /** A worker silent for longer is killed. */
  readonly heartbeatTimeoutMs: number
  /** Between two looks for markets that were not traded; up to ten times as long as they go on. */
  readonly marketsAgainMs: number
}

export const RESTART_POLICY: RestartPolicy = {
  backoffMinMs: 500,
  backoffMaxMs: 15_000,
  stableMs: 60_000,
  budget: 10,
  budgetWindowMs: 300_000,
  heartbeatTimeoutMs: 10_000,
  marketsAgainMs: 60_000,
}

export type Verdict =
  | { readonly action: 'restart'; readonly delayMs: number }
  | { readonly action: 'give-up'; readonly deaths: number; readonly withinMs: number }

/** The memory of one worker's deaths. All times are of one monotonic clock, ms. */
export class RestartHistory {
  readonly #policy: RestartPolicy
  readonly #random: () => number
  #deaths: number[] = []
  #attempt = 0

  constructor(policy: RestartPolicy, random: () => number) {
    this.#policy = policy
    this.#random = random
  }

  /**
   * The worker that was started at `startedMs` is dead. `outage`: it ended because something it
   * needs is not available, which is nothing to give up for: only the delay grows.
   */
  died(startedMs: number, nowMs: number, outage = false): Verdict {
    const { backoffMinMs, backoffMaxMs, stableMs, budget, budgetWindowMs } = this.#policy
    this.#deaths = this.#deaths.filter((death) => nowMs - death < budgetWindowMs)
    if (!outage) this.#deaths.push(nowMs)
    if (this.#deaths.length > budget) {
      return {
        action: 'give-up',
        deaths: this.#deaths.length,
        withinMs: nowMs - this.#deaths[0],
      }
    }
    if (nowMs - startedMs >= stableMs) this.#attempt = 0
    const ceiling = Math.min(backoffMaxMs, backoffMinMs * 2 ** Math.min(this.#attempt++, 30))
    // The jitter is below, never above: workers that die together do not start together, and the
    // cap stays a cap.
    return { action: 'restart', delayMs: Math.round(ceiling * (1 - 0.5 * this.#random())) }
  }
}

/**
 * Tells a silent worker from a parent that did not run itself (stopped, suspended host): time in
 * which the parent could not listen does not count against the workers.
 */
export class HeartbeatWatch {
  readonly #timeoutMs: number
  readonly #intervalMs: number
  readonly #last: Map<number, number> = new Map()
  #checkedMs: number | undefined

  /** `check` is called every `intervalMs`. */
  constructor(timeoutMs: number, intervalMs: number) {
    this.#timeoutMs = timeoutMs
    this.#intervalMs = intervalMs
  }

  /** A worker was started, or a message of it arrived. */
  heard(worker: number, nowMs: number): void {
    this.#last.set(worker, nowMs)
  }

  forget(worker: number): void {
    this.#last.delete(worker)
  }

  /** Workers silent for too long. */
  check(nowMs: number): number[] {
    const slept = this.#checkedMs === undefined ? 0 : nowMs - this.#checkedMs - 2 * this.#intervalMs
    this.#checkedMs = nowMs
    const silent: number[] = []
    for (const [worker, last] of this.#last) {
      const counted = slept > 0 ? Math.min(nowMs, last + slept) : last
      if (counted !== last) this.#last.set(worker, counted)
      if (nowMs - counted > this.#timeoutMs) silent.push(worker)
    }
    return silent
  }
}
