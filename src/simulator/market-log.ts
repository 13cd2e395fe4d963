/** What a simulated market did lately. */

/** Every change of the last versions, old and new size, so that a book moves both ways in time. */
export class ChangeLog {
  firstVersion = 1
  versions = 0
  changes = 0
  /** `starts[i]`: first change of version `firstVersion + i`. */
  starts = new Float64Array(64)
  side = new Uint8Array(256)
  key = new Float64Array(256)
  old = new Float64Array(256)
  now = new Float64Array(256)
  readonly #limit: number

  constructor(limit: number) {
    this.#limit = Math.max(1, limit)
  }

  begin(): void {
    if (this.versions >= this.#limit * 2) this.#forget(this.versions - this.#limit)
    if (this.versions === this.starts.length) {
      const starts = new Float64Array(this.starts.length * 2)
      starts.set(this.starts)
      this.starts = starts
    }
    this.starts[this.versions++] = this.changes
  }

  push(side: number, key: number, old: number, now: number): void {
    const at = this.changes++
    if (at === this.side.length) this.#grow()
    this.side[at] = side
    this.key[at] = key
    this.old[at] = old
    this.now[at] = now
  }

  end(version: number): number {
    const at = version - this.firstVersion + 1
    return at < this.versions ? this.starts[at]! : this.changes
  }

  start(version: number): number {
    return this.starts[version - this.firstVersion]!
  }

  #forget(versions: number): void {
    const from = this.starts[versions]!
    this.side.copyWithin(0, from, this.changes)
    this.key.copyWithin(0, from, this.changes)
    this.old.copyWithin(0, from, this.changes)
    this.now.copyWithin(0, from, this.changes)
    this.changes -= from
    this.starts.copyWithin(0, versions, this.versions)
    this.versions -= versions
    this.firstVersion += versions
    for (let i = 0; i < this.versions; i++) this.starts[i]! -= from
  }

  #grow(): void {
    const capacity = this.side.length * 2
    const side = new Uint8Array(capacity)
    side.set(this.side)
    this.side = side
    const key = new Float64Array(capacity)
    key.set(this.key)
    this.key = key
    const old = new Float64Array(capacity)
    old.set(this.old)
    this.old = old
    const now = new Float64Array(capacity)
    now.set(this.now)
    this.now = now
  }
}
