/** A number in bytes that are used again and again: only its last digits are written anew. */
import { writeFixed } from './decimal.ts'

/** Digits of a number that are written again for each event; those before them stay. */
const PATCHED = 1e8

/** A number in the template of a symbol's deltas. */
export class PatchedNumber {
  /** The template holds as it is for numbers in `[min, limit)`. */
  min = 0
  limit = 0
  /** What the digits that stay say. */
  base = 0
  digits = 0
  /** Where the number begins in the template. */
  at = 0

  /** The template has `value` at `[start, end)`; -1: the field is absent or null. */
  set(value: number, start: number, end: number): void {
    if (value < 0) {
      this.min = -1
      this.limit = 0
      this.base = -1
      this.digits = 0
    } else if (value < PATCHED) {
      const digits = end - start
      this.min = digits === 1 ? 0 : 10 ** (digits - 1)
      this.limit = 10 ** digits
      this.base = 0
      this.digits = digits
    } else {
      this.base = Math.floor(value / PATCHED) * PATCHED
      this.min = this.base
      this.limit = this.base + PATCHED
      this.digits = 8
    }
    this.at = end - this.digits
  }
}

/** Writes the digits that may have changed over those of the template. */
export function patch(bytes: Uint8Array, field: PatchedNumber, value: number): void {
  writeFixed(bytes, field.at, (value - field.base) | 0, field.digits)
}
