/** The instruments a simulated exchange lists, and decimal text from scaled integers. */
import { ObfeedError } from '../core/errors.ts'
import { hashText } from './random.ts'

export interface Product {
  /** Position in the exchange's list. */
  readonly index: number
  /** The exchange's own name, such as `BTC-USD`. */
  readonly wireSymbol: string
  /** ccxt unified symbol: `BTC/USD`, `BTC/USDT:USDT`. */
  readonly symbol: string
  readonly base: string
  readonly quote: string
  /** What a swap or future settles in; undefined on spot. */
  readonly settle: string | undefined
  /** `261225` of a dated future. */
  readonly expiry: string | undefined
  /** Products of different segments may share a wire symbol; '' where there is one kind only. */
  readonly segment: string
  /** Decimal text. */
  readonly quoteIncrement: string
  readonly baseIncrement: string
  readonly priceDecimals: number
  readonly sizeDecimals: number
  /** A price is `ticks * priceStep * 10^-priceDecimals`. */
  readonly priceStep: number
  /** A size is `lots * sizeStep * 10^-sizeDecimals`. */
  readonly sizeStep: number
  /** Where the market begins, in ticks. */
  readonly startTicks: number
  /** Typical size of a level, in lots. */
  readonly meanLots: number
}

/** Everything but the symbol may be left out; it is then looked up or made up. */
export interface ProductSpec {
  /** `BTC/USD`, `BTC-USD`, `BTC/USDT:USDT` or `BTC/USDT:USDT-261225`. */
  readonly symbol: string
  readonly price?: number
  readonly quoteIncrement?: string
  readonly baseIncrement?: string
}

export interface SymbolParts {
  readonly base: string
  readonly quote: string
  readonly settle: string | undefined
  readonly expiry: string | undefined
}

/** Steps of price and size, decimal text. */
export interface Increments {
  readonly price: string
  readonly size: string
}

/** How an exchange lists and names its products. */
export interface Listing {
  /** What is listed when a number of products is asked for: `USD`, `USDT:USDT`; the first is the main one. */
  readonly quotes: readonly string[]
  /** Undefined: no such product on this exchange. */
  wireSymbol(parts: SymbolParts): string | undefined
  segment?(parts: SymbolParts): string
  /** Absent: `usual`. */
  increments?(parts: SymbolParts, usual: Increments): Increments
}

/** [base, price in USD, quote increment, base increment] as the exchange lists them. */
const BASES: readonly (readonly [string, number, string, string])[] = [
  ['BTC', 78856.05, '0.01', '0.00000001'],
  ['ETH', 3021.55, '0.01', '0.00000001'],
  ['SOL', 152.31, '0.01', '0.00000001'],
  ['XRP', 2.1473, '0.0001', '0.000001'],
  ['DOGE', 0.16234, '0.00001', '0.1'],
  ['ADA', 0.4721, '0.0001', '0.00000001'],
  ['AVAX', 17.84, '0.01', '0.00000001'],
  ['LINK', 13.652, '0.001', '0.01'],
  ['LTC', 98.41, '0.01', '0.00000001'],
  ['BCH', 512.37, '0.01', '0.00000001'],
  ['SHIB', 0.00000851, '0.00000001', '1'],
  ['MOG', 0.00000051, '0.00000000001', '1'],
  ['PEPE', 0.00000612, '0.00000000001', '1'],
  ['BONK', 0.00001204, '0.00000000001', '1'],
  ['DOT', 3.127, '0.001', '0.00000001'],
  ['UNI', 7.421, '0.001', '0.000001'],
  ['AAVE', 187.52, '0.01', '0.001'],
  ['ATOM', 3.012, '0.001', '0.01'],
  ['NEAR', 2.184, '0.001', '0.001'],
  ['APT', 3.21, '0.01', '0.01'],
  ['ARB', 0.2417, '0.0001', '0.01'],
  ['OP', 0.412, '0.001', '0.01'],
  ['SUI', 1.7312, '0.0001', '0.1'],
  ['SEI', 0.1652, '0.0001', '0.1'],
  ['INJ', 6.241, '0.001', '0.01'],
  ['FIL', 1.782, '0.001', '0.001'],
  ['ICP', 4.513, '0.001', '0.0001'],
  ['HBAR', 0.14821, '0.00001', '0.1'],
  ['XLM', 0.251034, '0.000001', '0.00000001'],
  ['ALGO', 0.1473, '0.0001', '1'],
  ['ETC', 15.21, '0.01', '0.00000001'],
  ['GRT', 0.0512, '0.0001', '0.01'],
  ['CRV', 0.4471, '0.0001', '0.01'],
  ['MKR', 1712.4, '0.01', '0.000001'],
  ['COMP', 38.71, '0.01', '0.001'],
  ['SNX', 0.581, '0.001', '0.001'],
  ['YFI', 4870.12, '0.01', '0.000001'],
  ['SUSHI', 0.4812, '0.0001', '0.01'],
  ['BAT', 0.20341, '0.00001', '0.01'],
  ['ZEC', 412.66, '0.01', '0.00000001'],
  ['DASH', 61.182, '0.001', '0.001'],
  ['MANA', 0.2103, '0.0001', '0.01'],
  ['SAND', 0.2011, '0.0001', '0.01'],
  ['AXS', 1.243, '0.001', '0.001'],
  ['CHZ', 0.0321, '0.0001', '0.1'],
  ['ENJ', 0.0412, '0.0001', '0.01'],
  ['LDO', 0.7121, '0.001', '0.01'],
  ['RENDER', 2.301, '0.001', '0.01'],
  ['FET', 0.2471, '0.0001', '0.1'],
  ['TIA', 0.8121, '0.0001', '0.01'],
  ['JTO', 0.5932, '0.0001', '0.1'],
  ['JUP', 0.2312, '0.0001', '0.1'],
  ['WIF', 0.391, '0.001', '0.01'],
  ['ONDO', 0.56214, '0.00001', '0.01'],
  ['ENA', 0.2874, '0.0001', '0.1'],
  ['PENDLE', 2.4131, '0.001', '0.01'],
  ['STRK', 0.1123, '0.0001', '0.01'],
  ['IMX', 0.3512, '0.0001', '0.01'],
  ['QNT', 81.44, '0.01', '0.001'],
  ['EGLD', 8.312, '0.01', '0.001'],
]

/** [quote, its price in USD, more decimals of the quote increment]. */
const QUOTES: readonly (readonly [string, number, number])[] = [
  ['USD', 1, 0],
  ['EUR', 1.1, 0],
  ['GBP', 1.3, 0],
  ['USDT', 1, 0],
  ['USDC', 1, 0],
  ['BTC', 78856.05, 5],
  ['ETH', 3021.55, 3],
]

const DECIMAL = /^\d+(?:\.\d+)?$/
/** A coin's name may be in any script: capital letters, and those that are neither. */
const SYMBOL = /^([\p{Lu}\p{Lo}\d]{1,20})[/-]([A-Z0-9]{2,10})(?::([A-Z0-9]{2,10})(?:-(\d{6}))?)?$/u
const PLAIN_QUOTES = ['USD', 'EUR', 'GBP', 'USDT', 'BTC', 'ETH']

/** `BTC-USD`, spot only. */
export const PLAIN_LISTING: Listing = {
  quotes: PLAIN_QUOTES,
  wireSymbol: ({ base, quote, settle }) => settle === undefined ? `${base}-${quote}` : undefined,
}

/** The parts of a unified symbol; undefined when it is none. */
export function parseSymbol(text: string): SymbolParts | undefined {
  const match = SYMBOL.exec(text)
  if (match === null) return undefined
  return { base: match[1]!, quote: match[2]!, settle: match[3], expiry: match[4] }
}

/** `12300` with 4 decimals is `1.23`: canonical, no exponent, no trailing zeros. */
export function decimalText(scaled: number, decimals: number): string {
  const digits = String(scaled).padStart(decimals + 1, '0')
  if (decimals === 0) return digits
  const whole = digits.slice(0, digits.length - decimals)
  let end = digits.length
  while (end > whole.length && digits.charCodeAt(end - 1) === 48) end--
  return end === whole.length ? whole : `${whole}.${digits.slice(whole.length, end)}`
}

/** `12300` with 4 decimals is `1.2300`, with 6 shown `1.230000`: never fewer than `decimals`. */
export function fixedText(scaled: number, decimals: number, shown = decimals): string {
  const digits = String(scaled).padStart(decimals + 1, '0')
  const point = digits.length - decimals
  const fraction = digits.slice(point).padEnd(shown, '0')
  return fraction === '' ? digits : `${digits.slice(0, point)}.${fraction}`
}

/** `0.05` is step 5 with 2 decimals. */
function increment(text: string, name: string): { decimals: number; step: number } {
  const point = text.indexOf('.')
  const decimals = point < 0 ? 0 : text.length - point - 1
  const step = Number(text.replace('.', ''))
  if (!DECIMAL.test(text) || !(step > 0)) {
    throw new ObfeedError(
      'E_USAGE',
      `${name} is "${text}", expected a positive decimal such as 0.01`,
      { scope: 'agent', exitCode: 64 },
    )
  }
  return { decimals, step }
}

function scaledIncrement(text: string, shift: number): string {
  const { decimals, step } = increment(text, 'quote increment')
  return decimalText(step, Math.min(decimals + shift, 12))
}

function complete(spec: ProductSpec, index: number, listing: Listing): Product {
  const parts = parseSymbol(spec.symbol)
  const wireSymbol = parts === undefined ? undefined : listing.wireSymbol(parts)
  if (parts === undefined || wireSymbol === undefined) {
    throw new ObfeedError(
      'E_USAGE',
      `symbol is "${spec.symbol}", expected BASE/QUOTE such as BTC/${
        parts === undefined ? 'USD' : listing.quotes[0]
      }`,
      { scope: 'agent', exitCode: 64 },
    )
  }
  const { base, quote, settle, expiry } = parts
  const listed = BASES.find((entry) => entry[0] === base)
  const quoted = QUOTES.find((entry) => entry[0] === quote)
  const madeUp = Math.pow(10, (hashText(base) / 0x100000000) * 4 - 2)
  const price = spec.price ?? (listed?.[1] ?? madeUp) / (quoted?.[1] ?? 1)
  const usual = {
    price: scaledIncrement(listed?.[2] ?? '0.0001', quoted?.[2] ?? 0),
    size: listed?.[3] ?? '0.01',
  }
  const own = listing.increments?.(parts, usual) ?? usual
  const quoteIncrement = spec.quoteIncrement ?? own.price
  const baseIncrement = spec.baseIncrement ?? own.size
  const tick = increment(quoteIncrement, `${spec.symbol} quote increment`)
  const lot = increment(baseIncrement, `${spec.symbol} base increment`)
  const usd = price * (quoted?.[1] ?? 1)
  return {
    index,
    wireSymbol,
    symbol: `${base}/${quote}${settle === undefined ? '' : `:${settle}`}${
      expiry === undefined ? '' : `-${expiry}`
    }`,
    base,
    quote,
    settle,
    expiry,
    segment: listing.segment?.(parts) ?? '',
    quoteIncrement,
    baseIncrement,
    priceDecimals: tick.decimals,
    sizeDecimals: lot.decimals,
    priceStep: tick.step,
    sizeStep: lot.step,
    startTicks: Math.max(4, Math.round(price / (tick.step * Math.pow(10, -tick.decimals)))),
    // A level is worth some 2,500 USD, and is never so small that all sizes are one lot.
    meanLots: Math.max(
      20,
      Math.min(1e13, 2500 / usd / (lot.step * Math.pow(10, -lot.decimals))),
    ),
  }
}

/**
 * A number asks for that many products of a realistic list; names are made up beyond it. Two
 * spellings of one product are listed once.
 */
export function listProducts(
  symbols: number | readonly (string | ProductSpec)[],
  listing: Listing = PLAIN_LISTING,
): Product[] {
  const specs: ProductSpec[] = []
  if (typeof symbols === 'number') {
    for (const quote of listing.quotes) {
      for (const [base] of BASES) {
        const isOwn = base === quote.split(':')[0]
        if (specs.length < symbols && !isOwn) specs.push({ symbol: `${base}/${quote}` })
      }
    }
    for (let i = 1; specs.length < symbols; i++) {
      specs.push({ symbol: `COIN${String(i).padStart(4, '0')}/${listing.quotes[0]}` })
    }
  } else {
    for (const symbol of symbols) {
      specs.push(typeof symbol === 'string' ? { symbol: symbol.trim() } : symbol)
    }
  }
  const products: Product[] = []
  const seen = new Set<string>()
  for (const spec of specs) {
    const product = complete(spec, products.length, listing)
    if (seen.has(product.symbol)) continue
    seen.add(product.symbol)
    products.push(product)
  }
  if (products.length === 0) {
    throw new ObfeedError('E_USAGE', 'no symbols, expected at least one such as BTC/USD', {
      scope: 'agent',
      exitCode: 64,
    })
  }
  return products
}
