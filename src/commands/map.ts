/** `obfeed map`: writes a partition map of an exchange's markets, or brings one up to date. */
import { existsSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import process from 'node:process'
import { defineCommand } from 'citty'
import { resolveSettings } from '../config/config.ts'
import type { Assignment, AssignmentResult } from '../config/map-assignment.ts'
import { assignPartitions } from '../config/map-assignment.ts'
import { canonicalName, PARTITION_MAX, readPartitionMap } from '../config/partition-map.ts'
import { EXIT, ObfeedError } from '../core/errors.ts'
import type { Market } from '../core/instrument.ts'
import { integerFlag, print, settingArgs, usageError } from './flags.ts'
import { adapterOf } from './prepare.ts'

const TYPES = ['spot', 'swap', 'future', 'any'] as const
type MarketType = typeof TYPES[number]

export default defineCommand({
  meta: {
    name: 'map',
    description: "Writes a partition map from the exchange's markets, or brings one up to date;\n" +
      'symbols that are in it keep their partition',
  },
  args: {
    ...settingArgs(['exchange', 'engine', 'map', 'wsUrl', 'restUrl']),
    map: {
      type: 'string',
      valueHint: 'FILE',
      description: 'the map to write or bring up to date; EXCHANGE_config.json when absent',
    },
    quote: { type: 'string', valueHint: 'LIST', description: 'only these quote currencies' },
    type: {
      type: 'enum',
      options: [...TYPES],
      description: 'kind of market; spot, or swap where there is no spot, when absent',
    },
    top: {
      type: 'string',
      valueHint: 'N',
      description: 'only the N most traded ones of each quote currency, by 24 h volume',
    },
    partitions: {
      type: 'string',
      valueHint: 'N',
      description: 'partitions in all; symbols share them then. Each has its own when absent',
    },
    reuse: {
      type: 'boolean',
      description: 'give partitions of delisted symbols to new ones',
    },
    'dry-run': { type: 'boolean', description: 'show what would change, write nothing' },
    json: { type: 'boolean', description: 'one JSON object' },
  },
  async run({ args }) {
    const { settings, origins, warnings } = resolveSettings({ flags: args, required: ['exchange'] })
    for (const warning of warnings) process.stderr.write(`obfeed: ${warning}\n`)
    const top = integerFlag('top', args.top as string | undefined, { min: 1, max: 100_000 })
    const partitions = integerFlag('partitions', args.partitions as string | undefined, {
      min: 1,
      max: PARTITION_MAX,
    })
    const adapter = await adapterOf(settings, origins.exchange)
    const { loadMarkets, loadVolumes } = await import('../feed/markets.ts')
    const options = { restUrl: settings.restUrl, throughCcxt: settings.engine === 'ccxt' }
    const markets = await loadMarkets(settings.exchange, options)
    const candidates = chooseMarkets(markets, {
      quotes: (args.quote as string | undefined)?.split(',').map((quote) => quote.trim()),
      type: args.type as MarketType | undefined,
    })
    const volumes = await loadVolumes(settings.exchange, markets, options)
    const path = settings.map ?? `${settings.exchange}_config.json`
    const existing = readAssignment(path)
    const kept = markets.filter(({ symbol, active }) => active && existing.has(symbol))
    // Under whichever of its names: a map must not have a market twice.
    const served = new Set(kept.map((market) => canonicalName(market, adapter)))
    const wanted = busiest(candidates, volumes, top)
      .filter((market) => !served.has(canonicalName(market, adapter)))
    const retiredPath = path.replace(/(\.json)?$/, '.retired.json')
    const result = assignPartitions({
      existing,
      retired: readAssignment(retiredPath),
      markets,
      wanted: wanted.map(({ symbol }) => symbol),
      partitions,
      reuse: args.reuse === true,
    })
    if (result.map.size === 0) {
      throw new ObfeedError(
        'E_CONFIG',
        `no market of ${adapter.exchange} is left of ${markets.length} by --quote and --type, ` +
          'expected at least one; ask for others',
        { scope: 'agent', exitCode: EXIT.config },
      )
    }
    if (args['dry-run'] !== true) {
      // The retired ones first: what neither file names is given to others.
      const files: [string, Assignment][] = [[path, result.map]]
      if (result.retired.size > 0) files.unshift([retiredPath, result.retired])
      writeAssignments(files)
      if (result.retired.size === 0) rmSync(retiredPath, { force: true })
    }
    print(
      args.json === true
        ? renderJson(path, result)
        : renderText(path, retiredPath, result, args.reuse === true),
    )
  },
})

/** The kind of a market by its unified symbol: `A/B`, `A/B:C`, `A/B:C-261225`. */
function typeOf({ symbol }: Market): MarketType {
  if (!symbol.includes(':')) return 'spot'
  return symbol.includes('-', symbol.indexOf(':')) ? 'future' : 'swap'
}

function quoteOf({ symbol }: Market): string {
  return symbol.slice(symbol.indexOf('/') + 1).split(':')[0]!
}

/** Traded ones of their own that were asked for. @throws ObfeedError for a quote nobody has. */
function chooseMarkets(
  markets: readonly Market[],
  { quotes, type }: {
    readonly quotes: readonly string[] | undefined
    readonly type: MarketType | undefined
  },
): Market[] {
  const own = markets.filter(({ active, aliasOf }) => active && aliasOf === undefined)
  const kind = type ?? (own.some((market) => typeOf(market) === 'spot') ? 'spot' : 'swap')
  const known = new Set(own.map(quoteOf))
  for (const quote of quotes ?? []) {
    if (known.has(quote)) continue
    throw usageError(
      `--quote has "${quote}", expected currencies that markets are quoted in: ` +
        [...known].sort().slice(0, 20).join(', '),
    )
  }
  return own.filter((market) =>
    (kind === 'any' || typeOf(market) === kind) &&
    (quotes === undefined || quotes.includes(quoteOf(market)))
  )
}

/** Most traded first, within a quote currency; currencies in the order of their first market. */
function busiest(
  markets: readonly Market[],
  volumes: ReadonlyMap<string, number>,
  top: number | undefined,
): Market[] {
  const byQuote = Map.groupBy(markets, quoteOf)
  return [...byQuote.values()].flatMap((some) =>
    some
      .toSorted((a, b) => (volumes.get(b.symbol) ?? 0) - (volumes.get(a.symbol) ?? 0))
      .slice(0, top)
  )
}

function readAssignment(path: string): Assignment {
  if (!existsSync(path)) return new Map()
  return new Map(readPartitionMap(path).entries.map(({ symbol, partition }) => [symbol, partition]))
}

/** All of them, whole, or none at all: an agent may start at any moment. */
function writeAssignments(files: readonly (readonly [path: string, map: Assignment])[]): void {
  const temporary = (path: string): string => `${path}.${process.pid}.tmp`
  let at = ''
  try {
    for (const [path, map] of files) {
      at = path
      writeFileSync(temporary(path), `${JSON.stringify(Object.fromEntries(map), null, 2)}\n`)
    }
    for (const [path] of files) {
      at = path
      renameSync(temporary(path), path)
    }
  } catch (cause) {
    for (const [path] of files) {
      // A name that is too long cannot even be removed.
      if (existsSync(temporary(path))) rmSync(temporary(path), { force: true })
    }
    throw new ObfeedError(
      'E_OS',
      `cannot write ${at}: ${(cause as Error).message}; choose another file with --map`,
      { scope: 'agent', exitCode: EXIT.cannotCreate, cause },
    )
  }
}

function renderJson(path: string, result: AssignmentResult): string {
  const { map, added, delisted, retired } = result
  return JSON.stringify({
    map: path,
    symbols: map.size,
    partitions: Math.max(...map.values()) + 1,
    added,
    delisted: Object.fromEntries(delisted),
    retired: Object.fromEntries(retired),
  })
}

function renderText(
  path: string,
  retiredPath: string,
  { map, added, delisted, retired }: AssignmentResult,
  reuse: boolean,
): string {
  const lines = [...delisted].map(([symbol, partition]) => {
    const fate = retired.get(symbol) === partition && !reuse
      ? `its partition ${partition} stays empty (--reuse gives it to others)`
      : `its partition ${partition} may be given to others`
    return `delisted: ${symbol}, removed; ${fate}`
  })
  lines.push(
    `${path}: ${map.size} symbols on ${new Set(map.values()).size} partitions, ` +
      `${added.length} new, ${delisted.size} delisted`,
  )
  if (retired.size > 0) lines.push(`${retiredPath}: ${retired.size} partitions are kept free`)
  return lines.join('\n')
}
