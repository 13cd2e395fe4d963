/** What `plan` and `validate` find out before anything runs: adapter, map, markets, workers. */
import type { Adapter } from '../exchanges/adapter.ts'
import { adapters } from '../exchanges/index.ts'
import { EXIT, ObfeedError } from '../core/errors.ts'
import type { PlannedSymbol } from '../core/instrument.ts'
import type { Origin } from '../config/config.ts'
import { didYouMean } from '../config/nearest.ts'
import type { PartitionMap } from '../config/partition-map.ts'
import { readPartitionMap, resolveMap } from '../config/partition-map.ts'
import type { Settings } from '../config/settings.ts'

/** @throws {ObfeedError} exit 64 when a flag named an unknown exchange, 78 otherwise. */
export function adapterOf(exchange: string, origin: Origin = 'default'): Adapter {
  const known = Object.keys(adapters)
  if (Object.hasOwn(adapters, exchange)) return adapters[exchange]!
  const [code, exitCode] = origin === 'flag'
    ? ['E_USAGE', EXIT.usage] as const
    : ['E_CONFIG', EXIT.config] as const
  throw new ObfeedError(
    code,
    `exchange was "${exchange}", expected ${known.length > 1 ? 'one of ' : ''}` +
      `${known.join(', ')}${didYouMean(exchange, known)}`,
    { scope: 'agent', exitCode },
  )
}

export interface Prepared {
  readonly map: PartitionMap
  readonly symbols: readonly PlannedSymbol[]
}

/**
 * The map, held against the exchange's markets unless `offline`; then the symbols have no wire
 * symbol and no decimals, and only their number and partitions mean anything.
 *
 * @throws {ObfeedError} exit 66, 69 or 78.
 */
export async function prepare(
  settings: Settings,
  adapter: Adapter,
  offline: boolean,
): Promise<Prepared> {
  const map = readPartitionMap(settings.map)
  if (offline) {
    const symbols = map.entries.map(({ symbol, partition }) => ({
      symbol,
      partition,
      wireSymbol: '',
      priceDecimals: 0,
      sizeDecimals: 0,
    }))
    return { map, symbols }
  }
  // Only here: ccxt takes 50 ms to load, and a map that cannot be read needs no markets.
  const { loadMarkets } = await import('../feed/markets.ts')
  const markets = await loadMarkets(settings.exchange, { restUrl: settings.restUrl })
  return { map, symbols: resolveMap(map, markets, adapter) }
}

/** Partitions with more than one symbol, ascending, with the symbols in map order. */
export function sharedPartitions(
  symbols: readonly PlannedSymbol[],
): { readonly partition: number; readonly symbols: readonly string[] }[] {
  const byPartition = new Map<number, string[]>()
  for (const { symbol, partition } of symbols) {
    byPartition.set(partition, [...byPartition.get(partition) ?? [], symbol])
  }
  return [...byPartition]
    .filter(([, names]) => names.length > 1)
    .sort(([a], [b]) => a - b)
    .map(([partition, names]) => ({ partition, symbols: names }))
}
