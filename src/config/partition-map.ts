/** The partition map: which symbol goes to which Kafka partition, checked in full before anything runs. */
import type { Adapter } from '../exchanges/adapter.ts'
import type { DormantSymbol, PlannedSymbol } from '../core/instrument.ts'
import type { Market } from '../core/instrument.ts'
import { EXIT, ObfeedError } from '../core/errors.ts'
import { describeNode, duplicateKeys, parseJson, readNamedFile } from './json.ts'
import { editDistance } from './nearest.ts'

/** More partitions than any Kafka cluster carries: a typing error. */
export const PARTITION_MAX = 100_000

export interface MapEntry {
  /** ccxt unified symbol. */
  readonly symbol: string
  readonly partition: number
  /** Where the symbol stands in the file, both from 1. */
  readonly line: number
  readonly column: number
}

/** In the order of the file. */
export interface PartitionMap {
  readonly path: string
  readonly entries: readonly MapEntry[]
}

const SHAPE = 'an object {"ETH/USD": 0, ...}: symbol -> partition'

function refuse(problems: readonly string[]): ObfeedError {
  return new ObfeedError('E_CONFIG', problems.join('\n'), {
    scope: 'agent',
    exitCode: EXIT.config,
  })
}

/** @throws {ObfeedError} exit 66 when the file is missing, 78 with every problem of its content. */
export function readPartitionMap(path: string): PartitionMap {
  return parsePartitionMap(path, readNamedFile(path, 'a partition map'))
}

/** @throws {ObfeedError} exit 78 with every problem of the text, one a line. */
export function parsePartitionMap(path: string, text: string): PartitionMap {
  const root = parseJson(text, path)
  const top = `${path}:${root.line}:${root.column}`
  if (root.kind !== 'object') {
    throw refuse([`${top}: was ${describeNode(root)}, expected ${SHAPE}`])
  }
  if (root.members.length === 0) {
    throw refuse([`${top}: the map is empty, expected ${SHAPE}; add a symbol`])
  }
  const problems: [line: number, text: string][] = []
  for (const { again, first } of duplicateKeys(root.members)) {
    problems.push([
      again.line,
      `${path}:${again.line}:${again.column}: "${again.key}" stands a second time, first in line ` +
      `${first.line}; remove one`,
    ])
  }
  const entries: MapEntry[] = []
  for (const { key, line, column, value } of root.members) {
    const at = `${path}:${value.line}:${value.column}: partition of "${key}" was ` +
      describeNode(value)
    if (key.trim() === '' || key !== key.trim()) {
      const found = key.trim() === '' ? 'is empty' : 'has spaces around it'
      const place = `${path}:${line}:${column}: the symbol ${JSON.stringify(key)}`
      problems.push([line, `${place} ${found}, expected a unified symbol such as "ETH/USD"`])
    } else if (value.kind !== 'number' || !Number.isInteger(value.value)) {
      problems.push([value.line, `${at}, expected an integer from 0 to ${PARTITION_MAX}`])
    } else if (value.text.startsWith('-')) {
      problems.push([value.line, `${at}, expected 0 or more; partitions count from 0`])
    } else if (value.value > PARTITION_MAX) {
      problems.push([value.line, `${at}, expected at most ${PARTITION_MAX}; correct the number`])
    } else {
      entries.push({ symbol: key, partition: value.value, line, column })
    }
  }
  if (problems.length > 0) {
    throw refuse(problems.sort((a, b) => a[0] - b[0]).map(([, text]) => text))
  }
  return { path, entries }
}

export interface ResolveOptions {
  /** A symbol that is not traded at present is an error like one that never was. */
  readonly isStrict: boolean
  /** Symbols that were markets of the exchange when the map was used last. */
  readonly known: ReadonlySet<string>
}

/** Both in the order of the map. */
export interface ResolvedMap {
  readonly symbols: readonly PlannedSymbol[]
  readonly dormant: readonly DormantSymbol[]
}

const STRICT: ResolveOptions = { isStrict: true, known: new Set() }

/** Decimals of a market that is listed no more; it comes back with its own. */
const UNLISTED = { wireSymbol: '', priceDecimals: 8, sizeDecimals: 8 }

/**
 * The map's symbols with what the exchange says of them.
 *
 * @throws {ObfeedError} exit 78 with every unknown or twice named market, and, where strict, with
 * every one that is not traded at present.
 */
export function resolveMap(
  map: PartitionMap,
  markets: readonly Market[],
  adapter: Adapter,
  { isStrict, known }: ResolveOptions = STRICT,
): ResolvedMap {
  const bySymbol = new Map(markets.map((market) => [market.symbol, market]))
  const problems: string[] = []
  const planned: PlannedSymbol[] = []
  const dormant: DormantSymbol[] = []
  /** Market in its one canonical spelling -> the entry that named it first. */
  const taken = new Map<string, MapEntry>()
  for (const entry of map.entries) {
    const at = `${map.path}:${entry.line}:${entry.column}: "${entry.symbol}"`
    const market = bySymbol.get(entry.symbol)
    if (market === undefined && !isStrict && known.has(entry.symbol)) {
      const { symbol, partition } = entry
      dormant.push({ symbol, partition, ...UNLISTED, reason: 'no market any more' })
      continue
    }
    if (market === undefined) {
      const nearest = nearestSymbols(entry.symbol, markets)
      const hint = nearest.length > 0 ? `nearest: ${nearest.join(', ')}; ` : ''
      problems.push(
        `${at} is no market of ${adapter.exchange}; ${hint}correct the symbol or remove it`,
      )
      continue
    }
    if (!market.active && isStrict) {
      problems.push(
        `${at} is not traded on ${adapter.exchange} at present (market inactive); remove it`,
      )
      continue
    }
    const canonical = canonicalName(market, adapter)
    const first = taken.get(canonical)
    if (first !== undefined) {
      problems.push(
        `${at} is the same market as "${first.symbol}" in line ${first.line}, expected each ` +
          'market once; remove one',
      )
      continue
    }
    taken.set(canonical, entry)
    const { symbol, wireSymbol, priceDecimals, sizeDecimals } = market
    const symbolPlan = {
      symbol,
      wireSymbol,
      priceDecimals,
      sizeDecimals,
      partition: entry.partition,
    }
    if (market.active) planned.push(symbolPlan)
    else dormant.push({ ...symbolPlan, reason: 'not traded at present' })
  }
  if (problems.length > 0) throw refuse(problems)
  return { symbols: planned, dormant }
}

/** The same for all spellings of a market, and for no other one. */
export function canonicalName(market: Market, adapter: Adapter): string {
  const spelled = market.aliasOf ?? market.wireSymbol
  // An exchange may call two markets the same where they never meet.
  const segment = adapter.segment?.(market) ?? ''
  return `${segment} ${adapter.canonical?.(spelled) ?? spelled}`
}

/** Up to three symbols, the likeliest first; none when nothing comes close. */
function nearestSymbols(asked: string, markets: readonly Market[]): string[] {
  const word = asked.toUpperCase()
  const plain = word.replaceAll(/[^A-Z0-9]/g, '')
  const base = word.split(/[^A-Z0-9]/)[0]!
  const ranked: { symbol: string; distance: number }[] = []
  for (const market of markets) {
    if (!market.active) continue
    const symbol = market.symbol.toUpperCase()
    const same = symbol === word || market.wireSymbol.toUpperCase() === word ||
      symbol.replaceAll(/[^A-Z0-9]/g, '') === plain
    let distance = same ? -1 : editDistance(word, symbol)
    // The coin is seldom what was mistyped.
    if (symbol.split('/')[0] === base) distance -= 2
    if (distance <= Math.max(2, Math.ceil(word.length / 3))) {
      ranked.push({ symbol: market.symbol, distance })
    }
  }
  ranked.sort((a, b) => a.distance - b.distance || (a.symbol < b.symbol ? -1 : 1))
  return ranked.slice(0, 3).map(({ symbol }) => symbol)
}
