/** What `plan` and `validate` find out before anything runs: adapter, map, markets, workers. */
import type { Adapter } from '../exchanges/adapter.ts'
import { adapters, findAdapter, formerIds } from '../exchanges/index.ts'
import { EXIT, ObfeedError } from '../core/errors.ts'
import type { DormantSymbol, PlannedSymbol } from '../core/instrument.ts'
import type { Origin } from '../config/config.ts'
import { readKnownSymbols } from '../config/known-symbols.ts'
import { didYouMean } from '../config/nearest.ts'
import type { PartitionMap } from '../config/partition-map.ts'
import { readPartitionMap, resolveMap } from '../config/partition-map.ts'
import type { Settings } from '../config/settings.ts'

/**
 * The adapter that the settings ask for.
 *
 * @throws {ObfeedError} exit 64 when a flag named an unknown exchange, 78 otherwise; 69 for one that
 * is no more, unless another address serves it.
 */
export async function adapterOf(
  settings: Pick<Settings, 'exchange' | 'engine' | 'wsUrl'>,
  origin: Origin = 'default',
): Promise<Adapter> {
  const { exchange, engine } = settings
  const adapter = await findAdapter(exchange, engine)
  if (adapter === undefined) throw await unknownExchange(exchange, engine, origin)
  if (adapter.closed !== undefined && settings.wsUrl === undefined) {
    throw new ObfeedError(
      'E_EXCHANGE_CLOSED',
      `${adapter.closed}; to use a replay or \`obfeed simulate ${exchange}\`, give its address ` +
        'with --ws-url and --rest-url',
      { scope: 'agent', exitCode: EXIT.unavailable },
    )
  }
  return adapter
}

async function unknownExchange(
  exchange: string,
  engine: Settings['engine'],
  origin: Origin,
): Promise<ObfeedError> {
  const native = Object.keys(adapters)
  const { ccxtExchanges } = await import('../exchanges/ccxt.ts')
  const listed = engine === 'native' ? [] : ccxtExchanges()
  const broken = listed.find(({ id, works }) => id === exchange && !works)
  const known = [...native, ...Object.keys(formerIds), ...listed.map(({ id }) => id)]
  const others = engine === 'native' ? '' : ', or another one of `obfeed list exchanges`'
  const why = broken === undefined
    ? `expected one of ${native.join(', ')}${others}${didYouMean(exchange, known)}`
    : `which cannot be served: ${broken.reason}`
  const [code, exitCode] = origin === 'flag'
    ? ['E_USAGE', EXIT.usage] as const
    : ['E_CONFIG', EXIT.config] as const
  return new ObfeedError(code, `exchange was "${exchange}", ${why}`, { scope: 'agent', exitCode })
}

export interface Prepared {
  readonly map: PartitionMap
  readonly symbols: readonly PlannedSymbol[]
  /** Not traded at present. */
  readonly dormant: readonly DormantSymbol[]
}

/**
 * The map, held against the exchange's markets unless `offline`; then the symbols have no wire
 * symbol and no decimals, and only their number and partitions mean anything. `isStrict`: all of
 * them must be traded at present.
 *
 * @throws {ObfeedError} exit 66, 69 or 78.
 */
export async function prepare(
  settings: Settings,
  adapter: Adapter,
  { offline, isStrict }: { readonly offline: boolean; readonly isStrict: boolean },
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
    return { map, symbols, dormant: [] }
  }
  // Only here: ccxt takes 50 ms to load, and a map that cannot be read needs no markets.
  const { loadMarkets } = await import('../feed/markets.ts')
  const markets = await loadMarkets(settings.exchange, {
    restUrl: settings.restUrl,
    throughCcxt: settings.engine === 'ccxt',
  })
  const known = readKnownSymbols(map.path, settings.exchange)
  return { map, ...resolveMap(map, markets, adapter, { isStrict, known }) }
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
