/**
 * The one door for text that somebody else wrote (an exchange, a broker, a peer's close reason)
 * before it becomes part of a message of ours: of a length to be read, on one line, without the
 * password of an address, and nothing in it that a terminal, a log or a parser of lines takes for
 * more than text.
 */

import { withoutCredentials } from './credentials.ts'

/** Characters kept of a text. */
export const FOREIGN_TEXT_MAX = 500

/**
 * What is not shown as it is: control characters, the line separators NEL, U+2028 and U+2029, marks
 * that turn the direction of writing, characters without width, halves of a surrogate pair.
 */
const UNPRINTABLE =
  // deno-lint-ignore no-control-regex
  /[\x00-\x1f\x7f-\x9f\u00ad\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb\p{Cs}]/gu

const SHORT: Readonly<Record<string, string>> = { '\n': '\\n', '\r': '\\r', '\t': '\\t' }

function escaped(character: string): string {
  const hex = character.charCodeAt(0).toString(16)
  return SHORT[character] ?? `\\u${hex.padStart(4, '0')}`
}

/** Everything unprintable as `\n` or `\u2028`. What is escaped already stays as it is. */
export function printable(text: string): string {
  return text.replace(UNPRINTABLE, escaped)
}

/** Longer ones may be cut before the end that tells what they are. */
const CREDENTIALS_MAX = 4096

/** At most `max` characters of it, printable; an ellipsis says that there was more. */
export function foreignText(text: string, max: number = FOREIGN_TEXT_MAX): string {
  // First cut, then looked at: the length of the text costs nothing.
  const shown = printable(withoutCredentials(text.slice(0, max + CREDENTIALS_MAX)).slice(0, max))
  if (text.length <= max && shown.length <= max) return shown
  const kept = shown.slice(0, max)
  // No half of an escape, nor of a character of two units.
  return `${kept.replace(/(?:\\u?[0-9a-f]{0,3}|[\ud800-\udbff])$/, '')}…`
}

/** What was thrown, in its own words; of an error its message and that of its cause. */
export function foreignError(error: unknown): string {
  if (!(error instanceof Error)) return foreignText(String(error))
  const inner = error.cause instanceof Error ? `: ${error.cause.message}` : ''
  return foreignText(`${error.message}${inner}`)
}
