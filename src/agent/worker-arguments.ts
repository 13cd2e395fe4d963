/** What a worker knows from its command line, before the plan comes: enough to warm up. */

/** The hidden command. */
export const WORKER_COMMAND = '__worker'

export interface WorkerArguments {
  readonly id: number
  readonly exchange: string
  readonly sink: 'kafka' | 'stdout'
}

export function formatWorkerArguments({ id, exchange, sink }: WorkerArguments): string[] {
  return [WORKER_COMMAND, `${id}`, exchange, sink]
}

/** `args`: what follows the hidden command. */
export function parseWorkerArguments(args: readonly string[]): WorkerArguments {
  return {
    id: Number(args[0] ?? 0),
    exchange: args[1] ?? '',
    sink: args[2] === 'stdout' ? 'stdout' : 'kafka',
  }
}
