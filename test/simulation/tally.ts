/** What a world counts and what it accuses: faults injected, rules broken, and the trace. */

export class Tally {
  /** Faults injected, by kind. */
  readonly faults = new Map<string, number>()
  /** The first rule broken; the world ends there. */
  failure: string | undefined
  readonly #trace: ((line: string) => void) | undefined

  constructor(trace?: (line: string) => void) {
    this.#trace = trace
  }

  count(fault: string): void {
    this.faults.set(fault, (this.faults.get(fault) ?? 0) + 1)
    this.trace(() => `fault: ${fault}`)
  }

  violation(what: string): void {
    this.failure ??= what
    this.trace(() => `VIOLATION: ${what}`)
  }

  /** The line is only made when somebody reads it. */
  trace(line: () => string): void {
    this.#trace?.(line())
  }
}
