/** What ccxt's errors say: of which symbol, and what can be done. */
import type { LossKind } from './ccxt-session.ts'
import { textOf } from './said.ts'

/** Names of ccxt's errors, and what the others say. */
const LIMITED = /^RateLimitExceeded$|^DDoSProtection$|too many|rate.?limit|throttl/i

/** As much of a message is searched for the names of symbols. */
const SEARCHED_MAX = 4096

/**
 * HTTP answers to an address, as ccxt and `ws` quote them: `Unexpected server response: 403`,
 * `okx GET https://.. 451 Unavailable For Legal Reasons ..`.
 */
const BARRED = /(?:server response: |\bGET \S+ )(?:401|403|407|418|429|451)\b/

/** The exchange refuses everything for a while. */
export function isLimit(name: string, text: string): boolean {
  return LIMITED.test(name) || LIMITED.test(text) || BARRED.test(text)
}

/** The beginning of a message as text, to look for names in. */
export function searched(message: unknown): string | undefined {
  return message === undefined ? undefined : textOf(message).slice(0, SEARCHED_MAX)
}

/** `name` stands in `upper` as a word of its own, and is long enough to mean something. */
export function names(upper: string, name: string): boolean {
  const wanted = name.toUpperCase()
  if (wanted.length < 4 || !/\p{L}/u.test(wanted)) return false
  for (let at = upper.indexOf(wanted); at >= 0; at = upper.indexOf(wanted, at + 1)) {
    if (!isWord(upper, at - 1) && !isWord(upper, at + wanted.length)) return true
  }
  return false
}

function isWord(text: string, at: number): boolean {
  return at >= 0 && at < text.length && /[\p{L}\p{N}]/u.test(text[at]!)
}

/** Errors of ccxt that a new subscription can mend; with any other the exchange does not serve it. */
export function kindOf(name: string, text: string): LossKind {
  switch (name) {
    case 'ChecksumError':
      return 'checksum'
    case 'InvalidNonce':
    case 'TypeError':
    case 'RangeError':
      return 'gap'
    case 'NetworkError':
    case 'RequestTimeout':
    case 'ExchangeNotAvailable':
    case 'OnMaintenance':
      return 'disconnect'
    default:
      return /nonce|sequence|skipped/i.test(text) ? 'gap' : 'refused'
  }
}
