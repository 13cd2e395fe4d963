/** `obfeed simulate EXCHANGE`: a local exchange to develop, demonstrate and drill against. */
import { writeFileSync } from 'node:fs'
import process from 'node:process'
import type { ArgsDef, CommandDef } from 'citty'
import { defineCommand } from 'citty'
import { EXIT, ObfeedError } from '../core/errors.ts'
import { EXCHANGE_FAULTS, LINE_FAULTS, parseFault } from '../simulator/faults.ts'
import { twinOf, twins } from '../simulator/registry.ts'
import { startSimulator } from '../simulator/server.ts'
import type { Simulator, SimulatorOptions } from '../simulator/server.ts'
import { integerFlag, numberFlag, print } from './flags.ts'

/** Faults that single exchanges have, as `okx notice`. */
function ownFaults(): string {
  return Object.values(twins).flatMap(({ rules }) => {
    const names = Object.keys(rules.faults ?? {})
    return names.length === 0 ? [] : [`${rules.exchange} ${names.join(' ')}`]
  }).join(', ')
}

const args = {
  exchange: {
    type: 'positional',
    required: true,
    description: Object.keys(twins).join(' '),
  },
  port: { type: 'string', default: '0', valueHint: 'PORT', description: '0 takes a free port' },
  symbols: {
    type: 'string',
    valueHint: 'LIST|N',
    description: 'symbols, or how many of a realistic list; three usual ones unless given',
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
    description: `${[...LINE_FAULTS, ...Object.keys(EXCHANGE_FAULTS)].join(' ')}; ARG is a ` +
      'probability 0.001, a frame number 500, a period 30s or a symbol, as in drop:0.001, ' +
      'delay:0.01:200ms, wrong-snapshot:0.1:missing, rest-error:30s:503' +
      (ownFaults() === '' ? '' : `; of their own have ${ownFaults()}`),
  },
  'push-ms': {
    type: 'string',
    default: '0',
    valueHint: 'N',
    description: 'merge what changes within so many ms into one frame per symbol',
  },
  'connects-per-second': {
    type: 'string',
    valueHint: 'N',
    description: "connections accepted per second, in place of the exchange's own rule",
  },
  'messages-per-second': {
    type: 'string',
    valueHint: 'N',
    description: "client messages accepted per second, in place of the exchange's own rule",
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
  readonly symbols?: string | undefined
  readonly rate: string
  readonly levels: string
  readonly updates: string
  readonly skew: string
  readonly seed: string
  readonly fault?: string | undefined
  readonly 'push-ms': string
  readonly 'connects-per-second'?: string | undefined
  readonly 'messages-per-second'?: string | undefined
}

/** From the words of the command line; @throws ObfeedError E_USAGE. */
export function simulatorOptions(given: SimulateArgs): SimulatorOptions {
  const { rules } = twinOf(given.exchange)
  const integer = (
    name: Exclude<keyof SimulateArgs, 'exchange' | 'fault'>,
    min: number,
    max: number,
  ): number | undefined => {
    const text = given[name]
    return text === undefined ? undefined : integerFlag(name, text, { min, max })
  }
  const wanted = given.symbols?.trim()
  const list = (wanted ?? '').split(',').map((symbol) => symbol.trim()).filter((one) => one !== '')
  const connectsPerSecond = integer('connects-per-second', 1, 1_000_000)
  const messagesPerSecond = integer('messages-per-second', 1, 1_000_000)
  const faults = (given.fault ?? '').split(',').filter((one) => one.trim() !== '')
  return {
    exchange: given.exchange,
    port: integer('port', 0, 65_535)!,
    symbols: wanted === undefined
      ? rules.defaultSymbols
      : /^\d+$/.test(wanted)
      ? integer('symbols', 1, 20_000)!
      : list,
    rate: numberFlag('rate', given.rate, { min: 0, max: 1_000_000 })!,
    levels: integer('levels', 1, 500_000)!,
    updates: integer('updates', 1, 10_000)!,
    pushMs: integer('push-ms', 0, 60_000)!,
    skew: numberFlag('skew', given.skew, { min: 0, max: 5 })!,
    seed: integer('seed', 0, 999_999_999_999_999)!,
    ...(connectsPerSecond === undefined ? {} : { connectsPerSecond }),
    ...(messagesPerSecond === undefined ? {} : { messagesPerSecond }),
    faults: faults.map((text) => parseFault(text, Object.keys(rules.faults ?? {}))),
  }
}

function announce(simulator: Simulator, mapFile: string | undefined): void {
  const { exchange } = simulator.exchange.rules
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
    exchange,
    port: simulator.port,
    wsUrl: simulator.wsUrl,
    restUrl: simulator.restUrl,
    controlUrl: `${simulator.restUrl}/control`,
    symbols: symbols.length,
    command: `obfeed --exchange ${exchange} --map ${mapFile ?? 'MAP.json'} ` +
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
