/** What the market lists of several exchanges have in common, read as ccxt reads them. */
import { canonicalDecimal } from '../core/decimal.ts'
import type { Market } from '../core/instrument.ts'

/** Decimals of a price or size when a list tells no increment. */
export const DECIMALS_DEFAULT = 8

/** Currencies whose unified code is another one on every exchange of ccxt. */
export const COMMON_CODES: Readonly<Record<string, string>> = { XBT: 'BTC', BCHSV: 'BSV' }

/** The unified code of a currency; `own`: what it is on this exchange alone. */
export function codesWith(own: Readonly<Record<string, string>>): (currency: string) => string {
  const codes = new Map(Object.entries({ ...COMMON_CODES, ...own }))
  return (currency) => {
    const code = currency.toUpperCase()
    return codes.get(code) ?? code
  }
}

/** Digits behind the point of a canonical decimal. */
export function placesOf(canonical: string): number {
  const point = canonical.indexOf('.')
  return point < 0 ? 0 : canonical.length - point - 1
}

/** Of the text of an increment: `0.01` -> 2, `5` -> 0. */
export function decimalsOf(increment: unknown): number {
  const text = typeof increment === 'string' ? canonicalDecimal(increment) : undefined
  if (text === undefined || text === '0' || text.startsWith('-')) return DECIMALS_DEFAULT
  return placesOf(text)
}

/** The day of an expiry in a unified symbol: `1798185600000` -> `261225`. */
export function dayOf(ms: number): string {
  return new Date(ms).toISOString().slice(2, 10).replaceAll('-', '')
}

/** From volumes by the exchange's name to those by unified symbol; 0 where it tells none. */
export function volumesOf(
  markets: readonly Market[],
  byWireSymbol: ReadonlyMap<unknown, number>,
): Map<string, number> {
  return new Map(
    markets.map(({ symbol, wireSymbol }) => [symbol, byWireSymbol.get(wireSymbol) ?? 0]),
  )
}
