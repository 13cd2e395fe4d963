/**
 * As process 1 of a container the agent inherits every process whose parent has ended, and their
 * exits are its to take: those that nobody takes stay as zombies until no process can be started.
 */
import { readdirSync, readFileSync } from 'node:fs'
import process from 'node:process'
import { log } from '../telemetry/log.ts'
import { ownChildren } from './process.ts'
import { systemCalls } from './runtime.ts'

const LOOK_MS = 1000

/** Returns what ends it. Does nothing unless this is process 1. */
export function reapOrphans(): () => void {
  if (process.pid !== 1) return () => {}
  const reap = systemCalls()?.reap
  if (reap === undefined) {
    log.warn(
      'running as process 1 of a container, and ended processes that it inherits cannot be taken; ' +
        'expected an init in front: docker run --init, or tini',
    )
    return () => {}
  }
  let before: ReadonlySet<number> = new Set()
  const timer = setInterval(() => {
    const found = new Set(zombiesOf(process.pid).filter((pid) => !ownChildren.has(pid)))
    // Seen twice: what the runtime itself has to take it has taken by then.
    for (const pid of found) if (before.has(pid)) reap(pid)
    before = found
  }, LOOK_MS)
  timer.unref()
  return () => clearInterval(timer)
}

/** Ended children of `parent` that nobody has waited for. */
export function zombiesOf(parent: number): number[] {
  const found: number[] = []
  for (const entry of readdirSync('/proc')) {
    if (!/^\d+$/.test(entry)) continue
    try {
      const stat = readFileSync(`/proc/${entry}/stat`, 'latin1')
      // The name, in brackets, may hold anything.
      const [state, ppid] = stat.slice(stat.lastIndexOf(')') + 2).split(' ')
      if (state === 'Z' && Number(ppid) === parent) found.push(Number(entry))
    } catch {
      // Gone meanwhile.
    }
  }
  return found
}
