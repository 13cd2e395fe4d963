/**
 * Client order ids: `o` + run (6, base 36 seconds) + strategy (4) + counter (7): 18 characters of
 * `[a-z0-9]`, which fit the rules of every exchange that takes text.
 */

const RUN = 36 ** 6
const STRATEGY = 36 ** 4
const COUNTER = 36 ** 7

function padded(value: number, digits: number): string {
  return value.toString(36).padStart(digits, '0')
}

/** Four characters that stand for a strategy's name (FNV-1a). */
export function strategyTag(name: string): string {
  let hash = 0x811c9dc5
  for (let i = 0; i < name.length; i++) {
    hash = Math.imul(hash ^ name.charCodeAt(i), 0x01000193) >>> 0
  }
  return padded(hash % STRATEGY, 4)
}

/** Six characters that stand for the second in which a run began. */
export function runTag(startUs: number): string {
  return padded(Math.floor(startUs / 1e6) % RUN, 6)
}

/** Hands out the ids of one run. */
export class OrderIds {
  readonly prefix: string
  #count: number

  /** `used`: ids of this run that were handed out before, by an earlier process. */
  constructor(run: string, strategy: string, used = 0) {
    this.prefix = `o${run}${strategy}`
    this.#count = used
  }

  next(): string {
    return this.prefix + padded(this.#count++ % COUNTER, 7)
  }
}
