/** A market as ccxt needs it to watch its book, made of an instrument alone; no request is needed. */
import type { Instrument } from '../core/instrument.ts'
import type { CcxtExchange } from './ccxt-client.ts'

const UNIFIED = /^([^/:]+)\/([^/:]+)(?::([^/:-]+)(?:-(\d{6})(?:-([\d.]+)-([CP]))?)?)?$/
/** ccxt's `DECIMAL_PLACES`: a precision is a number of digits; elsewhere it is the step itself. */
const DECIMAL_PLACES = 2

export interface UnifiedParts {
  readonly base: string
  readonly quote: string
  readonly settle: string | undefined
  readonly type: 'spot' | 'swap' | 'future' | 'option'
}

/** The parts of `BASE/QUOTE`, `BASE/QUOTE:SETTLE`, `…-YYMMDD` and `…-YYMMDD-STRIKE-C`. */
export function unifiedParts(symbol: string): UnifiedParts {
  const [, base = symbol, quote = '', settle, expiry, strike] = UNIFIED.exec(symbol) ?? []
  const type = settle === undefined
    ? 'spot'
    : expiry === undefined
    ? 'swap'
    : strike === undefined
    ? 'future'
    : 'option'
  return { base, quote, settle, type }
}

/** Markets of one segment are on the same channel of their exchange. */
export function segmentOf({ symbol }: Instrument): string {
  const { type, settle } = unifiedParts(symbol)
  return settle === undefined ? type : `${type} ${settle}`
}

/** The exchange's names of the currencies, as far as its name of the market shows them. */
function currencyIds(wireSymbol: string, { base, quote }: UnifiedParts): [string, string] {
  const parts = wireSymbol.split(/[-_/:]/)
  if (parts.length === 2 && parts[0] !== '' && parts[1] !== '') {
    const isReversed = parts[0]!.toUpperCase() === quote && parts[1]!.toUpperCase() === base
    return isReversed ? [parts[1]!, parts[0]!] : [parts[0]!, parts[1]!]
  }
  return [base, quote]
}

export function marketOf(instrument: Instrument, exchange: CcxtExchange): unknown {
  const { symbol, wireSymbol, priceDecimals, sizeDecimals } = instrument
  const parts = unifiedParts(symbol)
  const { base, quote, settle, type } = parts
  const [baseId, quoteId] = currencyIds(wireSymbol, parts)
  const isContract = type !== 'spot'
  const isOption = type === 'option'
  const [, , , , expiry, strike, side] = UNIFIED.exec(symbol) ?? []
  const expiryMs = expiry === undefined ? undefined : Date.UTC(
    2000 + Number(expiry.slice(0, 2)),
    Number(expiry.slice(2, 4)) - 1,
    Number(expiry.slice(4)),
  )
  const step = (decimals: number) =>
    exchange.precisionMode === DECIMAL_PLACES ? decimals : Number(`1e-${decimals}`)
  return exchange.safeMarketStructure({
    id: wireSymbol,
    lowercaseId: wireSymbol.toLowerCase(),
    symbol,
    base,
    quote,
    settle,
    baseId,
    quoteId,
    settleId: settle,
    type,
    spot: !isContract,
    margin: false,
    swap: type === 'swap',
    future: type === 'future',
    option: isOption,
    active: true,
    contract: isContract,
    linear: isContract && !isOption ? settle === quote : undefined,
    inverse: isContract && !isOption ? settle === base : undefined,
    contractSize: isContract ? 1 : undefined,
    expiry: expiryMs,
    strike: strike === undefined ? undefined : Number(strike),
    optionType: side === undefined ? undefined : side === 'C' ? 'call' : 'put',
    precision: { price: step(priceDecimals), amount: step(sizeDecimals) },
    info: {},
  })
}
