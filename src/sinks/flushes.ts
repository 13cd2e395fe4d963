/** The callers that wait until everything they pushed is delivered. */
import type { Environment, Timer } from '../core/environment.ts'
import type { RecordQueue } from './queue.ts'

interface Flush {
  /** By queue: the first serial that is not waited for. */
  readonly targets: readonly number[]
  /** Records lost when it began: one more, and it cannot be complete. */
  readonly lostRecords: number
  readonly timer: Timer
  resolve(complete: boolean): void
}

export class Flushes {
  readonly #environment: Environment
  readonly #queues: readonly RecordQueue[]
  #waiting: Flush[] = []

  /** `queues` may still grow until the first `wait`. */
  constructor(environment: Environment, queues: readonly RecordQueue[]) {
    this.#environment = environment
    this.#queues = queues
  }

  /** What `Sink.flush` gives; `lostRecords` as in `check`. */
  wait(timeoutMs: number, lostRecords: number): Promise<boolean> {
    return new Promise((resolve) => {
      const flush: Flush = {
        targets: this.#queues.map((queue) => queue.nextSerial),
        lostRecords,
        timer: this.#environment.setTimer(timeoutMs, () => flush.resolve(false)),
        resolve: (complete) => {
          flush.timer.cancel()
          this.#waiting = this.#waiting.filter((other) => other !== flush)
          resolve(complete)
        },
      }
      this.#waiting.push(flush)
      this.check(lostRecords)
    })
  }

  /** Something was delivered or lost; `lostRecords` counts over the life of the sink. */
  check(lostRecords: number): void {
    for (const flush of [...this.#waiting]) {
      if (lostRecords > flush.lostRecords) {
        flush.resolve(false)
        continue
      }
      const { targets } = flush
      if (this.#queues.every((queue, i) => queue.oldestSerial >= targets[i])) flush.resolve(true)
    }
  }

  /** Nothing more will be delivered. */
  fail(): void {
    for (const flush of [...this.#waiting]) flush.resolve(false)
  }
}
