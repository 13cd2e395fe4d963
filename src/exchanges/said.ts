/**
 * What an exchange says in words of its own. Put into a message it is short and printable; it is
 * searched as it came, in time that grows with its length alone.
 */
import { foreignText } from '../core/foreign-text.ts'

/** Characters that are searched: no request of ours could be quoted in more. */
const SEARCHED_MAX = 65_536
/** Characters of a word that may hold a name. */
const WORD_MAX = 128
/** Marks inside such a word: each pair of them may enclose a name. */
const MARKS_MAX = 12

/** Of a value that is no text, the levels that are shown. */
const DEPTH_MAX = 8

/** Never inside a name. */
const BETWEEN_WORDS = /[\s"'`,;()[\]{}<>|]+/
/** Inside some names, around others: `BTC/USD`, `orderbook.50.BTCUSDT`, `btcusdt@depth`. */
const MARK = /[^\p{L}\p{N}_-]/gu

export class Said {
  /** At most 500 characters. */
  readonly shown: string
  readonly #text: string

  constructor(text: string) {
    this.shown = foreignText(text)
    this.#text = text.slice(0, SEARCHED_MAX)
  }

  /** As it may stand in a message. */
  toString(): string {
    return this.shown
  }

  /** `pattern`: without repetitions of repetitions, whose time explodes. */
  matches(pattern: RegExp): boolean {
    return pattern.test(this.#text)
  }

  /**
   * Who of `byName` is named, in the order of the text; of names within names the longest counts.
   * `fold` makes the names of the text look like those of the map.
   */
  named(
    byName: ReadonlyMap<string, number>,
    fold: (word: string) => string = (word) => word,
  ): Set<number> {
    const found = new Set<number>()
    for (const word of this.#text.split(BETWEEN_WORDS)) {
      if (word.length <= WORD_MAX) namesIn(fold(word), byName, found)
      else for (const part of word.split(MARK)) note(fold(part), byName, found)
    }
    return found
  }
}

function note(name: string, byName: ReadonlyMap<string, number>, found: Set<number>): boolean {
  const index = byName.get(name)
  if (index !== undefined) found.add(index)
  return index !== undefined
}

/** A name begins where the word does or behind a mark, and ends where it does or before one. */
function namesIn(word: string, byName: ReadonlyMap<string, number>, found: Set<number>): void {
  if (note(word, byName, found)) return
  const marks = [...word.matchAll(MARK)].map(({ 0: mark, index }) => [index, index + mark.length])
  if (marks.length === 0) return
  if (marks.length > MARKS_MAX) {
    for (const part of word.split(MARK)) note(part, byName, found)
    return
  }
  const starts = [0, ...marks.map(([, end]) => end)]
  const ends = [...marks.map(([start]) => start), word.length]
  for (let from = 0; from < starts.length; from++) {
    for (let to = ends.length - 1; to >= from; to--) {
      if (!note(word.slice(starts[from], ends[to]), byName, found)) continue
      from = to
      break
    }
  }
}

/** The parts of an error reply that are there. */
export function saidBy(...parts: readonly unknown[]): Said {
  return new Said(parts.filter((part) => part !== undefined).map(textOf).join(': '))
}

/** A JSON value as a message quotes it: a text as it is, nothing for what is absent. */
export function shown(value: unknown): string {
  return foreignText(textOf(value))
}

/** A JSON value, whole as long as nobody would call it long. */
export function textOf(value: unknown): string {
  if (typeof value === 'string') return value
  return value === undefined ? '' : jsonOf(value, DEPTH_MAX, { left: SEARCHED_MAX })
}

/** JSON that ends: `JSON.stringify` takes seconds for what is nested deeply, and throws then. */
function jsonOf(value: unknown, depth: number, budget: { left: number }): string {
  if (typeof value === 'string') {
    const text = JSON.stringify(value.slice(0, Math.max(0, budget.left)))
    budget.left -= text.length
    return text
  }
  if (typeof value !== 'object' || value === null) {
    budget.left -= 8
    return String(value)
  }
  const isArray = Array.isArray(value)
  const parts: string[] = []
  if (depth === 0) parts.push('…')
  else {
    for (const key in value) {
      if (budget.left <= 0) break
      budget.left -= 2
      const name = isArray ? '' : `${jsonOf(key, 0, budget)}:`
      parts.push(name + jsonOf((value as Record<string, unknown>)[key], depth - 1, budget))
    }
  }
  return isArray ? `[${parts.join(',')}]` : `{${parts.join(',')}}`
}
