/**
 * An exchange's markets: as its adapter reads them, else through ccxt. Only the parent calls it.
 */
import type { Market as UnifiedMarket } from 'ccxt'
import { overrideEndpoint } from '../core/endpoint.ts'
import { EXIT, ObfeedError } from '../core/errors.ts'
import { foreignError } from '../core/foreign-text.ts'
import type { Market } from '../core/instrument.ts'
import type { MarketSource } from '../exchanges/adapter.ts'
import { ccxtClasses } from '../exchanges/ccxt-classes.ts'
import { adapters } from '../exchanges/index.ts'
import { requestJson, unavailable } from './metadata-request.ts'

export interface MarketsOptions {
  /** Replaces scheme, host and port of every REST address. */
  readonly restUrl?: string | undefined
  /** Of each attempt; 10 s when absent. */
  readonly timeoutMs?: number
  /** Not as the adapter reads them, for comparison. */
  readonly throughCcxt?: boolean
}

interface UnifiedTicker {
  readonly quoteVolume?: number | undefined
}

/** What is used of a ccxt exchange. `fetch` may be replaced, ccxt documents that. */
interface Client {
  urls: Record<string, unknown>
  readonly precisionMode: number | undefined
  fetch: (url: string, method?: string, headers?: unknown, body?: unknown) => Promise<unknown>
  /** A promise of `UnifiedMarket[]`; ccxt's own declaration is looser. */
  fetchMarkets(): unknown
  /** A promise of tickers by unified symbol. */
  fetchTickers(): unknown
  /** A promise; needed before tickers are asked for. */
  loadMarkets(): unknown
}

const OTHER_SHAPE = 'an answer of another shape than is known'
const NO_MARKET = 'the answer lists no spot market'
const TIMEOUT_MS = 10_000
/** Of what can be done without. */
const REFINING_MS = 3000
/** Decimals when an exchange tells no step. */
const DECIMALS_DEFAULT = 8
/** ccxt's `DECIMAL_PLACES`; `precision` counts digits then instead of being the step itself. */
const DECIMAL_PLACES = 2

/**
 * All markets with order books, inactive ones too, in the exchange's order.
 *
 * @throws {ObfeedError} E_UNAVAILABLE, exit 69, when the exchange does not answer usably.
 */
export async function loadMarkets(
  exchange: string,
  options: MarketsOptions = {},
): Promise<Market[]> {
  const native = adapters[exchange]?.markets
  if (native !== undefined && options.throughCcxt !== true) {
    const urls = native.urls.map((url) => redirect(url, options.restUrl))
    const timeoutMs = options.timeoutMs ?? TIMEOUT_MS
    const answers = await Promise.all(urls.map((url, i) => {
      if (native.refining?.includes(native.urls[i]!) !== true) {
        return requestPages(exchange, url, timeoutMs, native)
      }
      const withinMs = Math.min(timeoutMs, REFINING_MS)
      return requestPages(exchange, url, withinMs, native).catch(() => undefined)
    }))
    const markets = native.parse(answers)
    if (markets?.length === 0) throw unavailable(exchange, urls[0]!, NO_MARKET)
    if (markets !== undefined) return markets
    // An answer of another shape: perhaps ccxt knows it already. Only where its ids are the adapter's.
    if (native.ccxt === undefined) throw unavailable(exchange, urls[0]!, OTHER_SHAPE)
    const known = new Map(urls.map((url, i) => [url, answers[i]]))
    return await loadThroughCcxt(exchange, options, known)
  }
  return await loadThroughCcxt(exchange, options)
}

/**
 * What was traded of each market in the last 24 hours, in its quote currency, by unified symbol. A
 * market that is not in it was not traded.
 *
 * @throws {ObfeedError} E_UNAVAILABLE, exit 69, when the exchange does not answer usably.
 */
export async function loadVolumes(
  exchange: string,
  markets: readonly Market[],
  options: MarketsOptions = {},
): Promise<ReadonlyMap<string, number>> {
  const native = adapters[exchange]?.volumes
  if (native === undefined || options.throughCcxt === true) {
    return await loadVolumesThroughCcxt(exchange, options)
  }
  const urls = native.urls.map((url) => redirect(url, options.restUrl))
  const timeoutMs = options.timeoutMs ?? TIMEOUT_MS
  const answers = await Promise.all(urls.map((url) => requestJson(exchange, url, timeoutMs)))
  const volumes = native.parse(answers, markets)
  if (volumes === undefined) throw unavailable(exchange, urls[0]!, OTHER_SHAPE)
  return volumes
}

/** `answers`: those that are there already, by address. */
async function loadThroughCcxt(
  exchange: string,
  options: MarketsOptions,
  answers: ReadonlyMap<string, unknown> = new Map(),
): Promise<Market[]> {
  const native = adapters[exchange]?.markets
  const { skip, refine } = native?.ccxt ?? {}
  const override = (url: string): string => redirect(url, options.restUrl)
  const timeoutMs = options.timeoutMs ?? TIMEOUT_MS
  const early = new Map([...answers].map(([url, answer]) => [url, Promise.resolve(answer)]))
  // What ccxt will ask first, asked while ccxt is still loading.
  const first = native?.ccxt === undefined ? undefined : override(native.urls[0]!)
  if (first !== undefined && !early.has(first)) {
    early.set(first, requestJson(exchange, first, timeoutMs))
    // It is awaited below, unless ccxt fails before: then nobody is to hear of it.
    early.get(first)!.catch(() => {})
  }
  const client = await openClient(exchange, options, (url, request) => {
    if (skip?.test(url)) return Promise.resolve({})
    const begun = early.get(url)
    early.delete(url)
    return begun ?? requestJson(exchange, url, timeoutMs, request)
  })
  let unified: readonly UnifiedMarket[]
  try {
    unified = await client.fetchMarkets() as readonly UnifiedMarket[]
  } catch (cause) {
    if (cause instanceof ObfeedError) throw cause
    throw ccxtFailure(exchange, 'list the markets', first, cause)
  }
  const markets = unified.flatMap((one) => {
    const market = toMarket(one, client.precisionMode)
    if (market === undefined) return []
    return refine === undefined ? market : refine(market, one?.info ?? {})
  })
  if (markets.length === 0) throw unavailable(exchange, first ?? 'ccxt', NO_MARKET)
  return markets
}

async function loadVolumesThroughCcxt(
  exchange: string,
  options: MarketsOptions,
): Promise<Map<string, number>> {
  const timeoutMs = options.timeoutMs ?? TIMEOUT_MS
  const client = await openClient(
    exchange,
    options,
    (url, request) => requestJson(exchange, url, timeoutMs, request),
  )
  try {
    await client.loadMarkets()
    const tickers = await client.fetchTickers() as Readonly<Record<string, UnifiedTicker>>
    return new Map(
      Object.entries(tickers).map(([symbol, ticker]) => [symbol, ticker.quoteVolume ?? 0]),
    )
  } catch (cause) {
    if (cause instanceof ObfeedError) throw cause
    throw ccxtFailure(exchange, 'tell what is traded', undefined, cause)
  }
}

/** Errors of ccxt that say what it wants and was not given; the network is not to blame. */
const WANTING = new Set(['ArgumentsRequired', 'AuthenticationError', 'NotSupported', 'BadRequest'])

function ccxtFailure(
  exchange: string,
  purpose: string,
  url: string | undefined,
  cause: unknown,
): ObfeedError {
  if (!(cause instanceof Error) || !WANTING.has(cause.name)) {
    return unavailable(exchange, url ?? 'ccxt', foreignError(cause), cause)
  }
  return new ObfeedError(
    'E_UNAVAILABLE',
    `ccxt cannot ${purpose} of ${exchange} with what it is given: ${
      foreignError(cause)
    }; obfeed has no ` +
      'keys and no accounts, expected what every client may ask for; choose another exchange',
    { scope: 'agent', exitCode: EXIT.unavailable, cause },
  )
}

/** A ccxt exchange whose requests all go through `request`, to the addresses that replace its own. */
async function openClient(
  exchange: string,
  options: MarketsOptions,
  request: (url: string, request: RequestInit) => Promise<unknown>,
): Promise<Client> {
  const known = ccxtClasses[exchange]
  if (known === undefined) {
    throw new ObfeedError(
      'E_CONFIG',
      `no market metadata for exchange "${exchange}"; \`obfeed list exchanges\` names those there are`,
      { scope: 'agent', exitCode: EXIT.config },
    )
  }
  const { default: Exchange } = await known.load() as {
    readonly default: new (settings: object) => Client
  }
  const client = new Exchange({ enableRateLimit: false })
  client.urls['api'] = mapTexts(client.urls['api'], (url) => redirect(url, options.restUrl))
  client.fetch = (url, method = 'GET', headers, body) =>
    request(url, {
      method,
      ...(headers === undefined ? {} : { headers: headers as Record<string, string> }),
      ...(typeof body === 'string' ? { body } : {}),
    })
  return client
}

// -- what ccxt says, in our words

function toMarket(market: UnifiedMarket, mode: number | undefined): Market | undefined {
  if (market === undefined || market.id === undefined) return undefined
  if (market.spot !== true && market.swap !== true && market.future !== true) return undefined
  return {
    symbol: market.symbol,
    wireSymbol: market.id,
    priceDecimals: decimalsOf(market.precision.price, mode),
    sizeDecimals: decimalsOf(market.precision.amount, mode),
    active: market.active !== false,
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

/** A list that goes on for so many pages does not end. */
const PAGES_MAX = 50

/** One answer, or all its pages where the source knows how they go on. */
async function requestPages(
  exchange: string,
  url: string,
  timeoutMs: number,
  source: MarketSource,
): Promise<unknown> {
  const first = await requestJson(exchange, url, timeoutMs)
  if (source.next === undefined) return first
  const pages = [first]
  for (let more = source.next(first); more !== undefined; more = source.next(pages.at(-1))) {
    if (pages.length === PAGES_MAX) {
      throw unavailable(exchange, url, `more than ${PAGES_MAX} pages`)
    }
    pages.push(await requestJson(exchange, url + more, timeoutMs))
  }
  return pages
}

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
