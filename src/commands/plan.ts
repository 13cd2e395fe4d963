/** `obfeed plan`: the table worker -> CPU -> connections -> symbols -> partitions. Changes nothing. */
import process from 'node:process'
import { defineCommand } from 'citty'
import { layoutWorkers } from '../agent/layout.ts'
import { resolveSettings } from '../config/config.ts'
import type { WorkerPlan } from '../config/plan.ts'
import { depthWarning, makePlan } from '../config/plan.ts'
import type { PlannedSymbol } from '../core/instrument.ts'
import { print, settingArgs } from './flags.ts'
import { adapterOf, prepare, sharedPartitions } from './prepare.ts'

export default defineCommand({
  meta: { name: 'plan', description: 'Shows which worker would serve what, and changes nothing' },
  args: {
    ...settingArgs(),
    offline: { type: 'boolean', description: 'do not ask the exchange whether the markets exist' },
    json: { type: 'boolean', description: 'one JSON object' },
  },
  async run({ args }) {
    const { settings, origins, warnings } = resolveSettings({ flags: args })
    const adapter = await adapterOf(settings, origins.exchange)
    const { symbols, dormant } = await prepare(settings, adapter, {
      offline: args['offline'] === true,
      isStrict: settings.strictMap,
    })
    const all = [...symbols, ...dormant]
    const layout = layoutWorkers(settings, all.length)
    const { limits, segment } = adapter
    const plan = makePlan({
      symbols,
      dormant,
      workers: layout.workers,
      cpus: layout.cpus,
      limits,
      segment,
    })
    const depth = depthWarning(adapter, settings.depth)
    for (const warning of [...warnings, ...layout.warnings, ...depth]) {
      process.stderr.write(`obfeed: ${warning}\n`)
    }
    const { exchange, topic, sink } = settings
    const shared = sharedPartitions(all)
    const partitions = Math.max(...all.map(({ partition }) => partition)) + 1
    if (args['json'] === true) {
      print(JSON.stringify({ exchange, sink, topic, partitions, workers: plan, shared }))
      return
    }
    const destination = sink === 'kafka' ? `topic ${topic}, ${partitions} partitions` : 'stdout'
    print(
      `${exchange}: ${count(all.length, 'symbol')}, ${count(plan.length, 'worker')}, ` +
        destination,
    )
    print(renderPlan(plan))
    for (const { symbol, partition, reason } of dormant) {
      print(`${symbol} -> ${partition}: ${reason}, asked for again`)
    }
    for (const { partition, symbols: names } of shared) {
      print(`partition ${partition} is shared by ${names.join(', ')}`)
    }
  },
})

function count(number: number, noun: string): string {
  return `${number} ${noun}${number === 1 ? '' : 's'}`
}

const SYMBOLS_WIDTH = 72

/** One line per connection, continued while its symbols do not fit. */
function renderPlan(plan: readonly WorkerPlan[]): string {
  const rows: string[][] = [['WORKER', 'CPU', 'CONNECTION', 'SYMBOL -> PARTITION']]
  for (const { id, cpu, connections } of plan) {
    connections.forEach((symbols, connection) => {
      wrap(symbols).forEach((line, i) => {
        const head = connection === 0 && i === 0
          ? [`${id}`, cpu === undefined ? '-' : `${cpu}`]
          : []
        rows.push([head[0] ?? '', head[1] ?? '', i === 0 ? `${connection}` : '', line])
      })
    })
  }
  const widths = [0, 1, 2].map((column) => Math.max(...rows.map((row) => row[column]!.length)))
  return rows
    .map((row) => row.map((cell, i) => i < 3 ? cell.padEnd(widths[i]!) : cell).join('  '))
    .join('\n')
}

function wrap(symbols: readonly PlannedSymbol[]): string[] {
  const lines: string[] = []
  for (const { symbol, partition } of symbols) {
    const word = `${symbol} -> ${partition}`
    const last = lines[lines.length - 1]
    if (last !== undefined && last.length + 2 + word.length <= SYMBOLS_WIDTH) {
      lines[lines.length - 1] = `${last}, ${word}`
    } else lines.push(word)
  }
  return lines
}
