/** Seeded randomness (sfc32 on integers): the same numbers for the same seed in every engine. */

export class SeededRandom {
  #a: number
  #b: number
  #c: number
  #counter = 1

  constructor(seed: string) {
    // FNV-1a, three times with different beginnings.
    const hash = (start: number): number => {
      let value = start
      for (let i = 0; i < seed.length; i++) {
        value = Math.imul(value ^ seed.charCodeAt(i), 0x01000193)
      }
      return value | 0
    }
    this.#a = hash(0x811c9dc5)
    this.#b = hash(0x2f0b4471)
    this.#c = hash(0x6b43a9b5)
    for (let i = 0; i < 15; i++) this.next()
  }

  /** Uniform in [0, 1). */
  next(): number {
    const sum = (this.#a + this.#b | 0) + this.#counter | 0
    this.#counter = this.#counter + 1 | 0
    this.#a = this.#b ^ this.#b >>> 9
    this.#b = this.#c + (this.#c << 3) | 0
    this.#c = (this.#c << 21 | this.#c >>> 11) + sum | 0
    return (sum >>> 0) / 4294967296
  }
}
