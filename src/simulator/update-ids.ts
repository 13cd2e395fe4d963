/** Update ids of one product as a pure function of its version: REST and all connections agree. */

export class UpdateIds {
  readonly #base: number
  readonly #stride: number
  readonly #jitter: number

  /**
   * Version v ends with the id `base + v * stride`, plus an irregular part below `jitter`, which
   * is at most `stride`.
   */
  constructor(base: number, stride = 1, jitter = 1) {
    this.#base = base
    this.#stride = stride
    this.#jitter = Math.min(jitter, stride)
  }

  last(version: number): number {
    const first = Math.imul(version + 1, 0x9e3779b1)
    const mixed = Math.imul(first ^ (first >>> 15), 0x85ebca6b) >>> 13
    return this.#base + version * this.#stride + (mixed % this.#jitter)
  }

  /** The newest version whose ids are all covered by `id`; -1 before the first. */
  versionAt(id: number): number {
    const version = Math.floor((id - this.#base) / this.#stride)
    if (version < 0) return -1
    return this.last(version) > id ? version - 1 : version
  }
}
