/** Says when a quota of the brokers holds the agent back: at once, then every 10 s while it does. */
import type { WorkerView } from './view.ts'

const REPEAT_MS = 10_000

export class ThrottleLog {
  readonly #warn: (message: string) => void
  #saidMs = -Infinity
  #saidTotalMs = 0

  constructor(warn: (message: string) => void) {
    this.#warn = warn
  }

  observe(workers: readonly WorkerView[], nowMs: number): void {
    const totalMs = workers.reduce((sum, { totals }) => sum + totals.throttledMs, 0)
    if (totalMs <= this.#saidTotalMs || nowMs - this.#saidMs < REPEAT_MS) return
    const oldestMs = Math.max(0, ...workers.map(({ stats }) => stats?.sink.oldestMs ?? 0))
    this.#warn(
      `throttled by the broker ${Math.round(totalMs - this.#saidTotalMs)} ms, the oldest event ` +
        `waits ${
          Math.round(oldestMs)
        } ms: a client quota is used up; raise producer_byte_rate or ` +
        'request_percentage of this user (kafka-configs.sh --alter --entity-type users or clients), ' +
        'or publish less (--depth, --compression)',
    )
    this.#saidTotalMs = totalMs
    this.#saidMs = nowMs
  }
}
