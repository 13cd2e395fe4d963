/** What a worker knows from its command line, before the plan comes: enough to warm up. */

import type { Engine } from '../exchanges/index.ts'

/** The hidden command. */
export const WORKER_COMMAND = '__worker'

export interface WorkerArguments {
  readonly id: number
  readonly exchange: string
  readonly engine: Engine
  readonly sink: 'kafka' | 'stdout'
}

export function formatWorkerArguments(given: WorkerArguments): string[] {
  return [WORKER_COMMAND, `${given.id}`, given.exchange, given.sink, given.engine]
}

/** `args`: what follows the hidden command. */
export function parseWorkerArguments(args: readonly string[]): WorkerArguments {
  return {
    id: Number(args[0] ?? 0),
    exchange: args[1] ?? '',
    sink: args[2] === 'stdout' ? 'stdout' : 'kafka',
    engine: args[3] === 'ccxt' || args[3] === 'native' ? args[3] : 'auto',
  }
}
