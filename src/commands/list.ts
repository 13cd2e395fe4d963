/** `obfeed list exchanges`: what can be served, and what is proven of it. */
import { defineCommand } from 'citty'
import type { Adapter } from '../exchanges/adapter.ts'
import { ccxtAdapter, ccxtExchanges } from '../exchanges/ccxt.ts'
import { adapters } from '../exchanges/index.ts'
import { print, usageError } from './flags.ts'

interface Row {
  readonly exchange: string
  readonly engine: 'native' | 'ccxt'
  /** How a loss shows; absent: the exchange cannot be served. */
  readonly proof?: string
  /** What one loss makes suspect. */
  readonly scope?: string
  /** Levels a side at most. */
  readonly depth?: number | 'full'
  readonly symbolsPerSocket?: number
  readonly snapshot?: string
  readonly note?: string
}

export default defineCommand({
  meta: { name: 'list', description: 'Lists the exchanges and what is proven of their books' },
  args: {
    what: { type: 'positional', required: true, description: 'exchanges' },
    native: { type: 'boolean', description: 'only those with an adapter of their own' },
    json: { type: 'boolean', description: 'one JSON object' },
  },
  run({ args }) {
    if (args.what !== 'exchanges') {
      throw usageError(`what to list was "${args.what}", expected exchanges`)
    }
    const rows: Row[] = Object.values(adapters).map((adapter) => describe(adapter, 'native'))
    if (args.native !== true) rows.push(...longTail())
    print(args.json === true ? JSON.stringify({ exchanges: rows }) : render(rows))
  },
})

function describe(adapter: Adapter, engine: Row['engine']): Row {
  const { exchange, protocol, limits, closed } = adapter
  return {
    exchange,
    engine,
    proof: protocol.loss,
    scope: protocol.loss === 'none' ? '-' : protocol.lossScope,
    depth: protocol.depth,
    symbolsPerSocket: limits.symbolsPerConnection,
    snapshot: protocol.snapshot === 'rest' ? 'REST' : 'in band',
    ...(closed === undefined ? {} : { note: `${closed}; only with --ws-url` }),
  }
}

function longTail(): Row[] {
  return ccxtExchanges()
    .filter(({ id }) => !Object.hasOwn(adapters, id))
    .map(({ id, works, reason }) => {
      const adapter = works ? ccxtAdapter(id) : undefined
      if (adapter !== undefined) return describe(adapter, 'ccxt')
      return { exchange: id, engine: 'ccxt', note: `not served: ${reason ?? 'unknown to ccxt'}` }
    })
}

const COLUMNS: readonly (readonly [title: string, cell: (row: Row) => string])[] = [
  ['exchange', ({ exchange }) => exchange],
  ['engine', ({ engine }) => engine],
  ['loss proof', ({ proof }) => proof ?? '-'],
  ['scope', ({ scope }) => scope ?? '-'],
  ['depth', ({ depth }) => String(depth ?? '-')],
  ['symbols/socket', ({ symbolsPerSocket }) => String(symbolsPerSocket ?? '-')],
  ['snapshot', ({ snapshot }) => snapshot ?? '-'],
  ['note', ({ note }) => note ?? ''],
]

function render(rows: readonly Row[]): string {
  const table = [
    COLUMNS.map(([title]) => title),
    ...rows.map((row) => COLUMNS.map(([, cell]) => cell(row))),
  ]
  const widths = COLUMNS.map((_, column) =>
    Math.max(...table.map((cells) => cells[column]!.length))
  )
  return table
    .map((cells) => cells.map((cell, column) => cell.padEnd(widths[column]!)).join('  ').trimEnd())
    .join('\n')
}
