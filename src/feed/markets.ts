/**
 * An exchange's markets: as its adapter reads them, else through ccxt; the only file that knows
 * ccxt, and only the parent calls it.
 */
import type { Market as UnifiedMarket } from 'ccxt'
import { overrideEndpoint } from '../core/endpoint.ts'
import { EXIT, ObfeedError } from '../core/errors.ts'
import type { Market } from '../core/instrument.ts'
import { adapters } from '../exchanges/index.ts'

export interface MarketsOptions {
  /** Replaces scheme, host and port of every REST address. */
  readonly restUrl?: string | undefined
  /** Of each attempt; 10 s when absent. */
  readonly timeoutMs?: number
  /** Not as the adapter reads them, for comparison. */
  readonly throughCcxt?: boolean
}

/** What is used of a ccxt exchange. `fetch` may be replaced, ccxt documents that. */
interface Client {
  urls: Record<string, unknown>
  readonly precisionMode: number | undefined
  fetch: (url: string, method?: string, headers?: unknown, body?: unknown) => Promise<unknown>
  /** A promise of `UnifiedMarket[]`; ccxt's own declaration is looser. */
  fetchMarkets(): unknown
}

interface Source {
  /** One class of ccxt: 24 MB less in the binary and 20 ms less at start than all of them. */
  readonly load: () => Promise<{ readonly default: new (settings: object) => Client }>
  /** The address ccxt will ask first. Asked while ccxt is still loading. */
  readonly url: string
  /** Requests about markets that are not served here; they are answered with `{}`. */
  readonly skip?: RegExp
}

const sources: Readonly<Record<string, Source>> = {
  coinbase: {
    load: () => import('../../node_modules/ccxt/js/src/coinbase.js'),
    url: 'https://api.coinbase.com/api/v3/brokerage/market/products',
    skip: /[?&]product_type=FUTURE\b/,
  },
}

const NO_MARKET = 'the answer lists no spot market'
const TIMEOUT_MS = 10_000
/** Waits before the second and third attempt: a network that is just coming up. */
const RETRY_DELAYS_MS = [250, 1000]
/** Decimals when an exchange tells no step. */
const DECIMALS_DEFAULT = 8
/** ccxt's `DECIMAL_PLACES`; `precision` counts digits then instead of being the step itself. */
const DECIMAL_PLACES = 2

/**
 * All spot markets, inactive ones too, in the exchange's order.
 *
 * @throws {ObfeedError} E_UNAVAILABLE, exit 69, when the exchange does not answer usably.
 */
export async function loadMarkets(
  exchange: string,
  options: MarketsOptions = {},
): Promise<Market[]> {
  const native = adapters[exchange]?.markets
  if (native !== undefined && options.throughCcxt !== true) {
    const url = redirect(native.url, options.restUrl)
    const answer = await requestJson(exchange, url, options.timeoutMs ?? TIMEOUT_MS)
    const markets = native.parse(answer)
    if (markets?.length === 0) throw unavailable(exchange, url, NO_MARKET)
    // An answer of another shape: perhaps ccxt knows it already.
    return markets ?? await loadThroughCcxt(exchange, options, Promise.resolve(answer))
  }
  return await loadThroughCcxt(exchange, options)
}

/** `answer` is the one to the source's first request, where it is there already. */
async function loadThroughCcxt(
  exchange: string,
  options: MarketsOptions,
  answered?: Promise<unknown>,
): Promise<Market[]> {
  const source = sources[exchange]
  if (source === undefined) {
    throw new ObfeedError(
      'E_CONFIG',
      `no market metadata for exchange "${exchange}", expected one of ` +
        `${Object.keys(sources).join(', ')}; correct --exchange`,
      { scope: 'agent', exitCode: EXIT.config },
    )
  }
  const override = (url: string): string => redirect(url, options.restUrl)
  const timeoutMs = options.timeoutMs ?? TIMEOUT_MS
  const early = new Map<string, Promise<unknown>>()
  const first = override(source.url)
  const answer = answered ?? requestJson(exchange, first, timeoutMs)
  // It is awaited below, unless ccxt fails before: then nobody is to hear of it.
  answer.catch(() => {})
  early.set(first, answer)

  const { default: Exchange } = await source.load()
  const client = new Exchange({ enableRateLimit: false })
  client.urls['api'] = mapTexts(client.urls['api'], override)
  client.fetch = (url) => {
    if (source.skip?.test(url)) return Promise.resolve({})
    const begun = early.get(url)
    early.delete(url)
    return begun ?? requestJson(exchange, url, timeoutMs)
  }
  let unified: readonly UnifiedMarket[]
  try {
    unified = await client.fetchMarkets() as readonly UnifiedMarket[]
  } catch (cause) {
    if (cause instanceof ObfeedError) throw cause
    throw unavailable(exchange, first, describe(cause), cause)
  }
  const markets = unified.flatMap((market) => toMarket(market, client.precisionMode) ?? [])
  if (markets.length === 0) throw unavailable(exchange, first, NO_MARKET)
  return markets
}

// -- what ccxt says, in our words

function toMarket(market: UnifiedMarket, mode: number | undefined): Market | undefined {
  if (market === undefined || market.spot !== true || market.id === undefined) return undefined
  // Coinbase: `is_disabled`, `status`, `alias`; absent elsewhere.
  const info: Readonly<Record<string, unknown>> = market.info ?? {}
  const delisted = info['is_disabled'] === true || info['status'] === 'delisted'
  const alias = info['alias']
  return {
    symbol: market.symbol,
    wireSymbol: market.id,
    priceDecimals: decimalsOf(market.precision.price, mode),
    sizeDecimals: decimalsOf(market.precision.amount, mode),
    active: market.active !== false && !delisted,
    ...(typeof alias === 'string' && alias !== '' ? { aliasOf: alias } : {}),
  }
}

/** 0.01 -> 2, 1e-8 -> 8, 0.0025 -> 4, 5 -> 0. */
function decimalsOf(precision: number | undefined, mode: number | undefined): number {
  if (precision === undefined || !(precision > 0)) return DECIMALS_DEFAULT
  if (mode === DECIMAL_PLACES) return precision
  const [digits, exponent] = precision.toExponential().split('e') as [string, string]
  const fraction = digits.includes('.') ? digits.length - 2 : 0
  return Math.max(0, fraction - Number(exponent))
}

// -- requests

/** ccxt appends paths to its addresses: one without a closing slash must stay so. */
function redirect(url: string, restUrl: string | undefined): string {
  const redirected = overrideEndpoint(url, restUrl)
  return url.endsWith('/') ? redirected : redirected.replace(/\/$/, '')
}

function mapTexts(value: unknown, change: (text: string) => string): unknown {
  if (typeof value === 'string') return /^https?:/.test(value) ? change(value) : value
  if (typeof value !== 'object' || value === null) return value
  return Object.fromEntries(Object.entries(value).map(([key, v]) => [key, mapTexts(v, change)]))
}

async function requestJson(exchange: string, url: string, timeoutMs: number): Promise<unknown> {
  for (let attempt = 0;; attempt++) {
    try {
      return await requestOnce(exchange, url, timeoutMs)
    } catch (error) {
      const delay = RETRY_DELAYS_MS[attempt]
      const again = error instanceof ObfeedError && !(error instanceof Refusal)
      if (!again || delay === undefined) throw error
      await new Promise((resolve) => setTimeout(resolve, error.retryAfterMs ?? delay))
    }
  }
}

/** Longest `Retry-After` that a start waits for. */
const RETRY_AFTER_MAX_MS = 5_000

async function requestOnce(exchange: string, url: string, timeoutMs: number): Promise<unknown> {
  const signal = AbortSignal.timeout(timeoutMs)
  let response: Response
  let body: string
  try {
    response = await fetch(url, {
      headers: { accept: 'application/json', 'user-agent': 'obfeed' },
      redirect: 'error',
      signal,
    })
    body = await response.text()
  } catch (cause) {
    const found = signal.aborted ? `no answer within ${timeoutMs / 1000} s` : describe(cause)
    throw unavailable(exchange, url, found, cause)
  }
  if (!response.ok) {
    const geo = response.status === 403 || response.status === 451
    const start = body.slice(0, 200).replaceAll(/\s+/g, ' ').trim()
    const found = `HTTP ${response.status}${start === '' ? '' : ` ${start}`}` +
      (geo ? ' (the exchange may refuse this region)' : '')
    const lasting = response.status < 500 && response.status !== 408 && response.status !== 429
    const after = Number(response.headers.get('retry-after') ?? NaN) * 1000
    if (lasting) throw new Refusal(exchange, url, found)
    throw unavailable(exchange, url, found, undefined, after)
  }
  try {
    return JSON.parse(body)
  } catch (cause) {
    throw new Refusal(exchange, url, `an answer that is not JSON: ${body.slice(0, 80)}`, cause)
  }
}

/** Asking again would give the same answer. */
class Refusal extends ObfeedError {
  constructor(exchange: string, url: string, found: string, cause?: unknown) {
    super('E_UNAVAILABLE', message(exchange, url, found), {
      scope: 'agent',
      exitCode: EXIT.unavailable,
      cause,
    })
  }
}

function describe(cause: unknown): string {
  if (!(cause instanceof Error)) return String(cause)
  const inner = cause.cause instanceof Error ? `: ${cause.cause.message}` : ''
  return `${cause.message}${inner}`
}

function message(exchange: string, url: string, found: string): string {
  return `market metadata of ${exchange} from ${url}: ${found}, expected the list of markets; ` +
    'check the network, a proxy (HTTPS_PROXY) or --rest-url'
}

function unavailable(
  exchange: string,
  url: string,
  found: string,
  cause?: unknown,
  retryAfterMs = NaN,
): ObfeedError {
  return new ObfeedError('E_UNAVAILABLE', message(exchange, url, found), {
    scope: 'agent',
    exitCode: EXIT.unavailable,
    cause,
    ...(retryAfterMs >= 0 ? { retryAfterMs: Math.min(retryAfterMs, RETRY_AFTER_MAX_MS) } : {}),
  })
}
