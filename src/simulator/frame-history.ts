/** Which version of a book each frame of a connection brought: the oracle's way from nonce to book. */

/** Sequence numbers and versions of one product on one connection, bounded, oldest forgotten. */
class Deliveries {
  #sequences = new Float64Array(16)
  #versions = new Float64Array(16)
  #count = 0
  readonly #limit: number

  constructor(limit: number) {
    this.#limit = Math.max(16, limit)
  }

  push(sequence: number, version: number): void {
    if (this.#count === this.#sequences.length) this.#makeRoom()
    this.#sequences[this.#count] = sequence
    this.#versions[this.#count++] = version
  }

  /** Version brought by the last frame up to `nonce`; -1 when there is none or it is forgotten. */
  versionAt(nonce: number): number {
    const after = this.#after(nonce)
    return after === 0 ? -1 : this.#versions[after - 1]!
  }

  /** True when exactly this frame was about the product. */
  has(nonce: number): boolean {
    const after = this.#after(nonce)
    return after > 0 && this.#sequences[after - 1] === nonce
  }

  versions(): number[] {
    return [...this.#versions.subarray(0, this.#count)]
  }

  /** Position of the first frame after `nonce`. */
  #after(nonce: number): number {
    let low = 0
    let high = this.#count
    while (low < high) {
      const middle = (low + high) >>> 1
      if (this.#sequences[middle]! <= nonce) low = middle + 1
      else high = middle
    }
    return low
  }

  #makeRoom(): void {
    if (this.#count >= this.#limit * 2) {
      const kept = this.#limit
      this.#sequences.copyWithin(0, this.#count - kept, this.#count)
      this.#versions.copyWithin(0, this.#count - kept, this.#count)
      this.#count = kept
      return
    }
    const sequences = new Float64Array(this.#sequences.length * 2)
    sequences.set(this.#sequences)
    this.#sequences = sequences
    const versions = new Float64Array(this.#versions.length * 2)
    versions.set(this.#versions)
    this.#versions = versions
  }
}

/** A subscription whose snapshot was wrong in a way that the wire cannot tell. */
interface Taint {
  readonly from: number
  until: number
}

export class FrameHistory {
  readonly #limit: number
  readonly #connectionsMax: number
  /** connection -> product index -> deliveries. */
  readonly #connections = new Map<number, Map<number, Deliveries>>()
  readonly #taints = new Map<string, Taint[]>()

  /** Frames remembered per connection and product, and connections remembered in all. */
  constructor(limit: number, connectionsMax: number) {
    this.#limit = limit
    this.#connectionsMax = connectionsMax
  }

  opened(connection: number): void {
    this.#connections.set(connection, new Map())
    if (this.#connections.size <= this.#connectionsMax) return
    const oldest = this.#connections.keys().next().value!
    this.#connections.delete(oldest)
  }

  delivered(connection: number, product: number, sequence: number, version: number): void {
    const products = this.#connections.get(connection)
    if (products === undefined) return
    let deliveries = products.get(product)
    if (deliveries === undefined) {
      deliveries = new Deliveries(this.#limit)
      products.set(product, deliveries)
    }
    deliveries.push(sequence, version)
  }

  /** The exchange numbers this product anew: what was sent before is not found any more. */
  restarted(connection: number, product: number): void {
    this.#connections.get(connection)?.delete(product)
  }

  snapshotDelivered(connection: number, product: number, sequence: number, wrong: boolean): void {
    const key = `${connection}/${product}`
    const taints = this.#taints.get(key)
    const last = taints?.at(-1)
    // An older snapshot (REST answers lag) replaces nothing.
    if (last !== undefined && sequence > last.from) last.until = Math.min(last.until, sequence)
    if (!wrong) return
    const taint = { from: sequence, until: Infinity }
    if (taints === undefined) this.#taints.set(key, [taint])
    else taints.push(taint)
  }

  /** A frame that shows whether the client's book is right: from here on it is its own fault. */
  checksumDelivered(connection: number, product: number, sequence: number): void {
    const last = this.#taints.get(`${connection}/${product}`)?.at(-1)
    if (last !== undefined) last.until = Math.min(last.until, sequence)
  }

  tainted(connection: number, product: number, nonce: number): boolean {
    const taints = this.#taints.get(`${connection}/${product}`)
    return taints !== undefined &&
      taints.some((taint) => nonce >= taint.from && nonce < taint.until)
  }

  versions(connection: number, product: number): number[] {
    return this.#connections.get(connection)?.get(product)?.versions() ?? []
  }

  /** -1 when the connection brought nothing of the product up to `nonce`. */
  versionAt(connection: number, product: number, nonce: number): number {
    return this.#connections.get(connection)?.get(product)?.versionAt(nonce) ?? -1
  }

  /** The connections that brought this product in exactly the frame `nonce`. */
  connectionsWith(product: number, nonce: number): number[] {
    const found: number[] = []
    for (const [connection, products] of this.#connections) {
      if (products.get(product)?.has(nonce)) found.push(connection)
    }
    return found
  }
}
