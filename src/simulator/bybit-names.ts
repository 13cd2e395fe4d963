/** What Bybit calls its products, and which service has them. */
import type { Listing, SymbolParts } from './products.ts'

export type Segment = 'spot' | 'linear' | 'inverse'

/** Month letters of dated inverse contracts. */
const MONTHS = 'FGHJKMNQUVXZ'
const MONTH_NAMES = [
  'JAN',
  'FEB',
  'MAR',
  'APR',
  'MAY',
  'JUN',
  'JUL',
  'AUG',
  'SEP',
  'OCT',
  'NOV',
  'DEC',
]

/** The service that a product is traded by; spot and linear names would collide. */
export function segmentOf({ base, quote, settle }: SymbolParts): Segment {
  if (settle === undefined) return 'spot'
  return settle === base && settle !== quote ? 'inverse' : 'linear'
}

function wireSymbolOf(parts: SymbolParts): string | undefined {
  const { base, quote, settle, expiry } = parts
  const segment = segmentOf(parts)
  if (segment === 'linear' && settle !== quote) return undefined
  if (expiry === undefined) {
    return segment === 'linear' && quote === 'USDC' ? `${base}PERP` : base + quote
  }
  const month = Number(expiry.slice(2, 4)) - 1
  if (month < 0 || month > 11) return undefined
  if (segment === 'inverse') return `${base}${quote}${MONTHS[month]}${expiry.slice(0, 2)}`
  const day = `${Number(expiry.slice(4))}${MONTH_NAMES[month]}${expiry.slice(0, 2)}`
  return `${base}${quote === 'USDC' ? '' : quote}-${day}`
}

export const LISTING: Listing = {
  quotes: ['USDT', 'USDT:USDT', 'USDC', 'USDC:USDC'],
  wireSymbol: wireSymbolOf,
  segment: segmentOf,
}
