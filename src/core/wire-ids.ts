/** From the bytes of an exchange's own symbol to the instrument, without making a string of them. */
import { Literal, type Scanner } from './scanner.ts'

const QUOTE = 0x22
/** What JSON cannot write as it is, and halves of a surrogate pair, which UTF-8 cannot. */
// deno-lint-ignore no-control-regex
const NEEDS_ESCAPE = /["\\\x00-\x1f\x7f]|\p{Cs}/u

/**
 * A fixed set of symbols as an exchange writes them, each as the bytes of its whole UTF-8. A symbol
 * that JSON writes with an escape is in no such set: it is for whoever reads the frame as JSON.
 */
export class WireIds {
  private readonly literals: Literal[] = []
  private readonly targets: number[] = []
  /** Hash of the id's bytes -> position in `literals` + 1; open addressing, at most a quarter full. */
  private readonly slots: Uint16Array<ArrayBuffer>
  /** A busy symbol's frames come in runs. */
  private last = 0

  /** `ids`: each symbol and its instrument. `suffix`: what stands behind every one, ASCII. */
  constructor(ids: ReadonlyMap<string, number>, suffix: string) {
    let capacity = 16
    while (capacity < ids.size * 4) capacity *= 2
    this.slots = new Uint16Array(capacity)
    for (const [id, index] of ids) {
      if (NEEDS_ESCAPE.test(id)) continue
      const literal = new Literal(id + suffix)
      const end = literal.length - suffix.length
      let hash = 0
      for (let i = 0; i < end; i++) hash = (Math.imul(hash, 31) + literal.bytes[i]) | 0
      let slot = hash & (capacity - 1)
      while (this.slots[slot] !== 0) slot = (slot + 1) & (capacity - 1)
      this.slots[slot] = this.literals.push(literal)
      this.targets.push(index)
    }
  }

  /**
   * The instrument whose symbol stands at the scanner's position, up to a quote; goes past it and
   * the suffix. -1: none of the set, or another suffix.
   */
  read(scanner: Scanner): number {
    const { literals, slots } = this
    if (literals.length === 0) return -1
    if (scanner.literal(literals[this.last])) return this.targets[this.last]
    const bytes = scanner.bytes
    const mask = slots.length - 1
    let hash = 0
    for (let at = scanner.at; at < scanner.end && bytes[at] !== QUOTE; at++) {
      hash = (Math.imul(hash, 31) + bytes[at]) | 0
    }
    for (let slot = hash & mask; slots[slot] !== 0; slot = (slot + 1) & mask) {
      const position = slots[slot] - 1
      if (scanner.literal(literals[position])) {
        this.last = position
        return this.targets[position]
      }
    }
    return -1
  }
}
