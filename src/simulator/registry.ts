/** The exchanges that can be simulated. */
import { EXIT, ObfeedError } from '../core/errors.ts'
import { binance, binanceusdm } from './binance.ts'
import { bitfinex } from './bitfinex.ts'
import { bitmex } from './bitmex.ts'
import { bybit } from './bybit.ts'
import { coinbase } from './coinbase.ts'
import { coinbaseexchange } from './coinbaseexchange.ts'
import { kraken } from './kraken.ts'
import { okx } from './okx.ts'
import type { Twin } from './twin.ts'

// One line each.
// deno-fmt-ignore
const TWINS: readonly Twin[] = [
  binance,
  binanceusdm,
  bitfinex,
  bitmex,
  bybit,
  coinbase,
  coinbaseexchange,
  kraken,
  okx,
]

export const twins: Readonly<Record<string, Twin>> = Object.fromEntries(
  TWINS.map((twin) => [twin.rules.exchange, twin]),
)

/** @throws ObfeedError E_USAGE that lists those there are. */
export function twinOf(exchange: string): Twin {
  const twin = Object.hasOwn(twins, exchange) ? twins[exchange] : undefined
  if (twin !== undefined) return twin
  throw new ObfeedError(
    'E_USAGE',
    `exchange was "${exchange}", expected ${Object.keys(twins).join(', ')}`,
    { scope: 'agent', exitCode: EXIT.usage },
  )
}
