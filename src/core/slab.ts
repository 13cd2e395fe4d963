/** One growable run of bytes that events are written into, one at a time. */
import { Buffer } from 'node:buffer'

/** The event last written is `bytes[start, end)`, until the next one is written. */
export class Slab {
  bytes: Uint8Array<ArrayBuffer>
  start = 0
  end = 0
  /**
   * What `bytes` is known to begin with, but for digits that are written anew each time; whoever
   * writes anything else clears it.
   */
  beginsWith: Uint8Array | undefined = undefined

  constructor(capacity = 64 * 1024) {
    this.bytes = new Uint8Array(capacity)
  }

  /**
   * Room for `capacity` bytes in all; what is written so far stays. `bytes` may be another array
   * afterwards, so read it again.
   */
  ensure(capacity: number): void {
    if (this.bytes.length >= capacity) return
    const bytes = new Uint8Array(Math.max(capacity, this.bytes.length * 2))
    bytes.set(this.bytes)
    this.bytes = bytes
  }
}

// Under Bun a third of the time of `set(subarray)`: no view is made.
const copy = Buffer.prototype.copy as (
  this: Uint8Array,
  to: Uint8Array,
  at: number,
  start: number,
  end: number,
) => number

/** Copies `from[start, end)` to `to` at `at`. */
export function copyBytes(
  to: Uint8Array,
  at: number,
  from: Uint8Array,
  start: number,
  end: number,
): void {
  copy.call(from, to, at, start, end)
}

/**
 * Writes all of `source` at `at`; returns the position after it. For short runs a loop beats the
 * call into `set`.
 */
export function writeBytes(bytes: Uint8Array, at: number, source: Uint8Array): number {
  for (let i = 0; i < source.length; i++) bytes[at + i] = source[i]
  return at + source.length
}
