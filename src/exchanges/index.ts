/** The registry: one line per exchange, and how an exchange id becomes an adapter. */
import type { Adapter } from './adapter.ts'
import { binance, binanceusdm } from './binance.ts'
import { bitfinex } from './bitfinex.ts'
import { bitmex } from './bitmex.ts'
import { bybit } from './bybit.ts'
import { coinbase } from './coinbase.ts'
import { coinbaseexchange } from './coinbaseexchange.ts'
import { kraken } from './kraken.ts'
import { okx } from './okx.ts'

/** The native adapters, by ccxt exchange id. */
export const adapters: Readonly<Record<string, Adapter>> = {
  binance,
  binanceusdm,
  bitfinex,
  bitmex,
  bybit,
  coinbase,
  coinbaseexchange,
  kraken,
  okx,
}

/** What exchanges were called before, or elsewhere. */
export const formerIds: Readonly<Record<string, string>> = {
  'binance-usdm': 'binanceusdm',
  binancefutures: 'binanceusdm',
  bitfinex2: 'bitfinex',
  coinbasepro: 'coinbase',
  okex: 'okx',
}

/** `auto`: native where there is a native adapter. */
export type Engine = 'auto' | 'native' | 'ccxt'

/** The adapter of an exchange id as of today; undefined: that engine does not know the exchange. */
export async function findAdapter(exchange: string, engine: Engine): Promise<Adapter | undefined> {
  const native = Object.hasOwn(adapters, exchange) ? adapters[exchange] : undefined
  if (engine === 'native' || (engine === 'auto' && native !== undefined)) return native
  // Only here: a worker of a native adapter must never load ccxt.
  const { ccxtAdapter } = await import('./ccxt.ts')
  return ccxtAdapter(exchange)
}
