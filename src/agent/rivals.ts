/** What the agent makes of others that publish its symbols: words, readiness, and perhaps the end. */
import { hostname } from 'node:os'
import process from 'node:process'
import type { LastPublished } from '../kafka/last-published.ts'
import type { RivalStats } from '../kafka/rivals.ts'
import type { WorkerView } from './view.ts'

/** Every agent says something of each symbol within 5 s; one that was silent for so long is gone. */
const SPOKE_MS = 15_000
/** A conflict that goes on is said again. */
const REPEAT_MS = 60_000
const NAMED_SYMBOLS = 5

/** By producer, over all workers. */
export function rivalsOf(workers: readonly WorkerView[]): RivalStats[] {
  const found = new Map<string, RivalStats>()
  for (const { stats } of workers) {
    for (const { producer, symbols, silentMs } of stats?.kafka?.rivals ?? []) {
      const same = found.get(producer)
      found.set(producer, {
        producer,
        symbols: [...same?.symbols ?? [], ...symbols],
        silentMs: Math.min(same?.silentMs ?? Infinity, silentMs),
      })
    }
  }
  return [...found.values()]
}

/** `host/7/0.1.0 also publishes BTC/USD, ETH/USD and 3 more`. */
export function describeRival({ producer, symbols }: RivalStats): string {
  const named = symbols.slice(0, NAMED_SYMBOLS).join(', ')
  const more = symbols.length - NAMED_SYMBOLS
  return `${producer} also publishes ${named}${more > 0 ? ` and ${more} more` : ''}`
}

/**
 * Others whose last words in the topic are so fresh that they may still be there. Not one that was
 * stopped, nor one of this host whose process is gone.
 */
export function rivalsAtStart(
  published: ReadonlyMap<string, LastPublished>,
  own: string,
  nowMs: number,
): RivalStats[] {
  const found = new Map<string, RivalStats>()
  for (const [symbol, { producer, recordMs, hasEnded }] of published) {
    const silentMs = nowMs - recordMs
    if (hasEnded || silentMs > SPOKE_MS || producer === undefined) continue
    if (producer === own || isGone(producer)) continue
    const same = found.get(producer)
    found.set(producer, {
      producer,
      symbols: [...same?.symbols ?? [], symbol],
      silentMs: Math.max(0, Math.min(same?.silentMs ?? Infinity, silentMs)),
    })
  }
  return [...found.values()]
}

function isGone(producer: string): boolean {
  const [host, pid] = producer.split('/')
  if (host !== hostname() || !/^\d+$/.test(pid ?? '')) return false
  try {
    process.kill(Number(pid), 0)
    return false
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'ESRCH'
  }
}

/** Says each rival once, again every minute, and when it is gone. */
export class RivalLog {
  readonly #warn: (message: string) => void
  readonly #saidMs = new Map<string, number>()

  constructor(warn: (message: string) => void) {
    this.#warn = warn
  }

  /** Call about once a second. True: somebody new is there. */
  observe(rivals: readonly RivalStats[], remedy: string, nowMs: number): boolean {
    let isNew = false
    for (const rival of rivals) {
      const saidMs = this.#saidMs.get(rival.producer)
      if (saidMs !== undefined && nowMs - saidMs < REPEAT_MS) continue
      isNew ||= saidMs === undefined
      this.#saidMs.set(rival.producer, nowMs)
      this.#warn(`two agents publish the same books: ${describeRival(rival)}; ${remedy}`)
    }
    for (const producer of this.#saidMs.keys()) {
      if (rivals.some((rival) => rival.producer === producer)) continue
      this.#saidMs.delete(producer)
      this.#warn(`${producer} publishes none of our books any more`)
    }
    return isNew
  }
}
