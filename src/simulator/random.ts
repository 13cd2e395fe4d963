/** Seeded randomness: the same seed gives the same exchange, frame for frame. */

/** Turns any text into 32 bits, so that each product has a seed of its own. */
export function hashText(text: string, seed = 0): number {
  let hash = (seed ^ 0x9e3779b9) >>> 0
  for (let i = 0; i < text.length; i++) {
    hash = Math.imul(hash ^ text.charCodeAt(i), 0x85ebca6b)
    hash = (hash ^ (hash >>> 13)) >>> 0
  }
  hash = Math.imul(hash ^ (hash >>> 16), 0xc2b2ae35)
  return (hash ^ (hash >>> 15)) >>> 0
}

/** sfc32: 128 bits of state, a few nanoseconds a draw. */
export class Random {
  #a: number
  #b: number
  #c: number
  #counter = 1

  constructor(seed: number) {
    this.#a = hashText('a', seed >>> 0) | 0
    this.#b = hashText('b', Math.floor(seed / 0x100000000) >>> 0) | 0
    this.#c = (seed ^ 0x5bf03635) | 0
    for (let i = 0; i < 12; i++) this.uint32()
  }

  uint32(): number {
    const sum = (((this.#a + this.#b) | 0) + this.#counter) | 0
    this.#counter = (this.#counter + 1) | 0
    this.#a = this.#b ^ (this.#b >>> 9)
    this.#b = (this.#c + (this.#c << 3)) | 0
    this.#c = (((this.#c << 21) | (this.#c >>> 11)) + sum) | 0
    return sum >>> 0
  }

  /** Uniform in [0, 1). */
  next(): number {
    return this.uint32() / 0x100000000
  }

  /** Uniform integer in [0, limit). */
  below(limit: number): number {
    return Math.floor(this.next() * limit)
  }

  /** Exponentially distributed, >= 0. */
  exponential(mean: number): number {
    return -Math.log(1 - this.next()) * mean
  }
}
