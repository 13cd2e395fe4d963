/** Our own words for a cluster that is away: at once, then now and then, and when it is back. */

export interface OutageWords {
  warn(message: string): void
  info(message: string): void
}

/** Trouble that is over sooner is not worth a word. */
const NOTED_MS = 500
const REPEAT_MS = 10_000

export class OutageLog {
  readonly #brokers: string
  readonly #words: OutageWords
  #sinceMs: number | undefined
  #saidMs: number | undefined

  constructor(brokers: readonly string[], words: OutageWords) {
    this.#brokers = brokers.join(', ')
    this.#words = words
  }

  /** Nothing answers, or something is due for long: call a few times a second, or at each failure. */
  waiting(nowMs: number, lastError: string | undefined): void {
    this.#sinceMs ??= nowMs
    if (nowMs - this.#sinceMs < NOTED_MS) return
    if (this.#saidMs !== undefined && nowMs - this.#saidMs < REPEAT_MS) return
    this.#saidMs = nowMs
    const seconds = Math.round((nowMs - this.#sinceMs) / 1000)
    this.#words.warn(
      `waiting for Kafka at ${this.#brokers}, ${seconds} s, last error ${
        lastError ?? 'none: no answer'
      }`,
    )
  }

  /** All is well. */
  well(nowMs: number): void {
    if (this.#saidMs !== undefined) {
      const seconds = Math.round((nowMs - (this.#sinceMs ?? nowMs)) / 1000)
      this.#words.info(`Kafka is back after ${seconds} s`)
    }
    this.#sinceMs = undefined
    this.#saidMs = undefined
  }
}
