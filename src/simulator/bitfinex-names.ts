/** How Bitfinex names its pairs, and the steps of their prices: five significant digits. */
import type { Increments, Listing, SymbolParts } from './products.ts'
import { hashText } from './random.ts'

/** Unified code -> the exchange's own. */
const CURRENCIES: Readonly<Record<string, string>> = {
  ALGO: 'ALG',
  ATOM: 'ATO',
  DASH: 'DSH',
  IOTA: 'IOT',
  MANA: 'MNA',
  QTUM: 'QTM',
  TUSD: 'TSD',
  USDC: 'UDC',
  USDT: 'UST',
}

/** Currencies whose usual step has so many digits too many, at the price of the day. */
const DIGITS_TOO_MANY: Readonly<Record<string, number>> = {
  BTC: 2,
  BONK: 2,
  ETH: 1,
  MKR: 1,
  PEPE: 1,
  XLM: 1,
  YFI: 1,
}
const MADE_UP = /^COIN\d+$/

function currency(code: string): string {
  return CURRENCIES[code] ?? code
}

/**
 * A perpetual's currencies end in `F0`, its base has no name of its own; a colon stands wherever a
 * name has not three letters.
 */
function wireSymbol({ base, quote, settle, expiry }: SymbolParts): string | undefined {
  if (expiry !== undefined) return undefined
  if (settle !== undefined) {
    return settle === quote ? `t${base}F0:${currency(quote)}F0` : undefined
  }
  const pair = [currency(base), currency(quote)]
  return `t${pair.join(pair.every((name) => name.length === 3) ? '' : ':')}`
}

/** `0.0001` with two digits fewer is `0.01`; never above 1. */
function coarser(step: string, digits: number): string {
  const point = step.indexOf('.')
  const places = (point < 0 ? 0 : step.length - point - 1) - digits
  return places <= 0 ? '1' : `0.${'0'.repeat(places - 1)}1`
}

function increments({ base }: SymbolParts, usual: Increments): Increments {
  const size = '0.00000001'
  if (!MADE_UP.test(base)) return { price: coarser(usual.price, DIGITS_TOO_MANY[base] ?? 0), size }
  // Between 0.01 and 100, by the name; one digit is kept for a price that leaves its decade.
  const magnitude = Math.floor((hashText(base) / 0x100000000) * 4 - 2)
  return { price: coarser('0.00000001', magnitude + 5), size }
}

export const BITFINEX_LISTING: Listing = {
  quotes: ['USD', 'USDT:USDT', 'USDT', 'BTC', 'EUR'],
  wireSymbol,
  increments,
}

/** A pair as the configuration lists it: without the `t` in front. */
export function listedPair(wireSymbol: string): string {
  return wireSymbol.slice(1)
}
