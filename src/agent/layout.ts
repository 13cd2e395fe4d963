/** How many workers a run has, on which CPUs, and whether they can be pinned there. */
import { availableParallelism } from 'node:os'
import process from 'node:process'
import type { Settings } from '../config/settings.ts'
import { EXIT, ObfeedError } from '../core/errors.ts'
import { chooseCpus, type Cpus, findTaskset, formatCpuList, type ReadText } from './affinity.ts'
import { readSystemText } from './runtime.ts'

/** What of the host decides; the real one when absent. */
export interface Host {
  readonly read: ReadText
  readonly taskset: string | undefined
  /** Counts when the host does not list its CPUs. */
  readonly parallelism: number
}

export interface Layout {
  readonly workers: number
  /** In the order workers take them, as `makePlan` wants them; empty: not pinned. */
  readonly cpus: readonly number[]
  /** Absolute path; undefined: not pinned. */
  readonly taskset: string | undefined
  /** What the user should know, one sentence each. */
  readonly warnings: readonly string[]
}

export function realHost(): Host {
  return {
    read: readSystemText,
    taskset: findTaskset(process.env.PATH),
    parallelism: availableParallelism(),
  }
}

/**
 * Lays `symbols` out on this host. Throws when `--cpus` names none that is allowed (exit 78) or
 * `--pin require` cannot be met (exit 71).
 */
export function layoutWorkers(
  settings: Pick<Settings, 'workers' | 'cpus' | 'pin'>,
  symbols: number,
  host: Host = realHost(),
): Layout {
  const cpus = chooseCpus(host.read, settings.cpus)
  const warnings: string[] = []
  const automatic = cpus?.automatic ?? host.parallelism
  const workers = Math.max(1, Math.min(settings.workers || automatic, symbols))
  const obstacle = cpus === undefined
    ? '/proc/self/status does not list the CPUs of this process'
    : host.taskset === undefined
    ? 'taskset was not found in /usr/bin, /bin or PATH; install util-linux'
    : undefined
  if (settings.pin === 'require' && obstacle !== undefined) {
    throw new ObfeedError(
      'E_OS',
      `workers cannot be pinned (--pin require): ${obstacle}, or give --pin auto`,
      { scope: 'agent', exitCode: EXIT.os },
    )
  }
  if (settings.pin === 'auto' && obstacle !== undefined) {
    warnings.push(`workers are not pinned to CPUs: ${obstacle}, or give --pin off`)
  }
  if (cpus !== undefined) warn(warnings, settings, cpus, workers)
  const pinned = settings.pin !== 'off' && obstacle === undefined
  return {
    workers,
    cpus: pinned ? cpus?.order ?? [] : [],
    taskset: pinned ? host.taskset : undefined,
    warnings,
  }
}

function warn(
  warnings: string[],
  settings: Pick<Settings, 'workers'>,
  cpus: Cpus,
  workers: number,
): void {
  if (cpus.refused.length > 0) {
    warnings.push(
      `CPUs ${formatCpuList(cpus.refused)} of --cpus may not be used by this process: left out`,
    )
  }
  if (workers > cpus.order.length) {
    warnings.push(
      `${workers} workers share ${cpus.order.length} CPUs, expected one each: give --workers ` +
        `${cpus.order.length} or fewer`,
    )
  }
  if (cpus.quota < workers) {
    warnings.push(
      `the cgroup grants ${cpus.quota} CPUs to ${workers} workers: they will be throttled for ` +
        'some ms at a time; raise the quota (cpu.max, --cpus of the container)' +
        (settings.workers > 1 ? ' or give fewer --workers' : ''),
    )
  }
}
