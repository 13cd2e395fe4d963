/** `obfeed simulate coinbase`: a local exchange to develop, demonstrate and drill against. */
import { writeFileSync } from 'node:fs'
import process from 'node:process'
import type { ArgsDef, CommandDef } from 'citty'
import { defineCommand } from 'citty'
import { EXIT, ObfeedError } from '../core/errors.ts'
import { parseFault } from '../simulator/faults.ts'
import { startSimulator } from '../simulator/server.ts'
import type { Simulator, SimulatorOptions } from '../simulator/server.ts'
import { integerFlag, numberFlag, print, usageError } from './flags.ts'

const args = {
  exchange: { type: 'positional', required: true, description: 'coinbase' },
  port: { type: 'string', default: '0', valueHint: 'PORT', description: '0 takes a free port' },
  symbols: {
    type: 'string',
    default: 'BTC/USD,ETH/USD,ETH/EUR',
    valueHint: 'LIST|N',
    description: 'symbols, or how many of a realistic list',
  },
  rate: {
    type: 'string',
    default: '100',
    valueHint: 'N',
    description: 'update frames per second over all symbols',
  },
  levels: { type: 'string', default: '500', valueHint: 'N', description: 'levels a side' },
  updates: {
    type: 'string',
    default: '2',
    valueHint: 'N',
    description: 'mean changes per frame',
  },
  skew: {
    type: 'string',
    default: '0',
    valueHint: 'X',
    description: '0: symbols equally busy; 1: Zipf, the first the busiest',
  },
  seed: { type: 'string', default: '1', valueHint: 'N', description: 'same seed, same market' },
  fault: {
    type: 'string',
    valueHint: 'KIND[:ARG],...',
    description: 'drop:0.001 duplicate:0.01 cut:500 reorder:0.01 disconnect:30s half-open:60s ' +
      'delay:0.01:200ms stall:BTC-USD wrong-snapshot:0.1 crossed:60s',
  },
  'connects-per-second': {
    type: 'string',
    default: '8',
    valueHint: 'N',
    description: 'connections accepted per second',
  },
  'messages-per-second': {
    type: 'string',
    default: '8',
    valueHint: 'N',
    description: 'client messages accepted per second',
  },
  'write-map': {
    type: 'string',
    valueHint: 'FILE',
    description: 'write the partition map of these symbols there',
  },
} satisfies ArgsDef

interface SimulateArgs {
  readonly exchange: string
  readonly port: string
  readonly symbols: string
  readonly rate: string
  readonly levels: string
  readonly updates: string
  readonly skew: string
  readonly seed: string
  readonly fault?: string | undefined
  readonly 'connects-per-second': string
  readonly 'messages-per-second': string
}

/** From the words of the command line; @throws ObfeedError E_USAGE. */
export function simulatorOptions(given: SimulateArgs): SimulatorOptions {
  if (given.exchange !== 'coinbase') {
    throw usageError(`exchange was "${given.exchange}", expected coinbase`)
  }
  const integer = (name: Exclude<keyof SimulateArgs, 'fault'>, min: number, max: number): number =>
    integerFlag(name, given[name], { min, max })!
  const list = given.symbols.split(',').map((symbol) => symbol.trim()).filter((one) => one !== '')
  return {
    exchange: 'coinbase',
    port: integer('port', 0, 65_535),
    symbols: /^\d+$/.test(given.symbols.trim()) ? integer('symbols', 1, 20_000) : list,
    rate: numberFlag('rate', given.rate, { min: 0, max: 1_000_000 })!,
    levels: integer('levels', 1, 500_000),
    updates: integer('updates', 1, 10_000),
    skew: numberFlag('skew', given.skew, { min: 0, max: 5 })!,
    seed: integer('seed', 0, 999_999_999_999_999),
    connectsPerSecond: integer('connects-per-second', 1, 1_000_000),
    messagesPerSecond: integer('messages-per-second', 1, 1_000_000),
    faults: (given.fault ?? '').split(',').filter((one) => one.trim() !== '').map(parseFault),
  }
}

function announce(simulator: Simulator, mapFile: string | undefined): void {
  const symbols = simulator.exchange.products.map((product) => product.symbol)
  if (mapFile !== undefined) {
    const map = Object.fromEntries(symbols.map((symbol, partition) => [symbol, partition]))
    try {
      writeFileSync(mapFile, `${JSON.stringify(map, null, 2)}\n`)
    } catch (cause) {
      throw new ObfeedError(
        'E_OS',
        `cannot write the map to ${mapFile}: ${(cause as Error).message}`,
        { scope: 'agent', exitCode: EXIT.cannotCreate, cause },
      )
    }
  }
  const line = {
    listening: true,
    exchange: 'coinbase',
    port: simulator.port,
    wsUrl: simulator.wsUrl,
    restUrl: simulator.restUrl,
    controlUrl: `${simulator.restUrl}/control`,
    symbols: symbols.length,
    command: `obfeed --exchange coinbase --map ${mapFile ?? 'MAP.json'} ` +
      `--ws-url ${simulator.wsUrl} --rest-url ${simulator.restUrl}`,
  }
  print(JSON.stringify(line))
}

/** Resolves with the first TERM or INT. */
function signalled(): Promise<void> {
  return new Promise((resolve) => {
    process.once('SIGTERM', () => resolve())
    process.once('SIGINT', () => resolve())
  })
}

const command: CommandDef<typeof args> = defineCommand({
  meta: {
    name: 'simulate',
    description:
      'Run a protocol-faithful exchange on loopback; prints one JSON line when it listens',
  },
  args,
  async run(context): Promise<void> {
    const given = context.args
    const stop = signalled()
    const simulator = await startSimulator(simulatorOptions(given))
    try {
      announce(simulator, given['write-map'])
      await stop
    } finally {
      await simulator.close()
    }
  },
})

export default command
