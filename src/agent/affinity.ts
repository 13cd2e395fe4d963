/** Which CPUs workers may use, in which order, and how many of them: affinity, quota, SMT. */
import { accessSync, constants } from 'node:fs'
import { delimiter, join } from 'node:path'
import { EXIT, ObfeedError } from '../core/errors.ts'

/** Text of a file of /proc or /sys; undefined when it cannot be read. */
export type ReadText = (path: string) => string | undefined

/** What the process may use, and how workers are best laid on it. */
export interface Cpus {
  /** Logical CPUs in the order workers should take them: whole cores first, siblings later. */
  readonly order: readonly number[]
  /** Workers when nobody asks for a number; at least 1. */
  readonly automatic: number
  /** CPUs' worth of time the cgroup grants; Infinity when unlimited. */
  readonly quota: number
  /** Physical cores among `order`. */
  readonly cores: number
  /** CPUs asked for with `--cpus` that the process may not use; left out of `order`. */
  readonly refused: readonly number[]
}

/** From how many physical cores on one is left to the parent and the kernel's interrupts. */
const CORES_TO_SHARE = 4
/** Linux does not count higher; anything above is a typing error. */
const CPU_MAX = 8191

/** `0-3,8` -> [0, 1, 2, 3, 8], ascending, unique; undefined when it is not such a list. */
export function parseCpuList(text: string): number[] | undefined {
  const cpus = new Set<number>()
  for (const part of text.trim().split(',')) {
    const match = /^\s*(\d+)(?:-(\d+))?\s*$/.exec(part)
    if (match === null) return undefined
    const first = Number(match[1])
    const last = match[2] === undefined ? first : Number(match[2])
    if (last < first || last > CPU_MAX) return undefined
    for (let cpu = first; cpu <= last; cpu++) cpus.add(cpu)
  }
  return [...cpus].sort((a, b) => a - b)
}

/** [0, 1, 2, 3, 8] -> `0-3,8`. */
export function formatCpuList(cpus: readonly number[]): string {
  const sorted = [...new Set(cpus)].sort((a, b) => a - b)
  const parts: string[] = []
  for (let i = 0; i < sorted.length;) {
    let end = i
    while (sorted[end + 1] === sorted[end] + 1) end++
    parts.push(end === i ? `${sorted[i]}` : `${sorted[i]}-${sorted[end]}`)
    i = end + 1
  }
  return parts.join(',')
}

/** CPUs the scheduler would let this process run on; undefined where /proc does not say. */
export function allowedCpus(read: ReadText): number[] | undefined {
  const list = /^Cpus_allowed_list:\s*(\S+)/m.exec(read('/proc/self/status') ?? '')?.[1]
  const allowed = list === undefined ? undefined : parseCpuList(list)
  if (allowed === undefined) return undefined
  const online = parseCpuList(read('/sys/devices/system/cpu/online') ?? '')
  return online === undefined ? allowed : allowed.filter((cpu) => online.includes(cpu))
}

/**
 * CPUs' worth of time per period that the cgroup grants, the tightest one up to the root counting;
 * Infinity when there is none. Reads version 2 (`cpu.max`) and version 1 (`cpu.cfs_quota_us`).
 */
export function cpuQuota(read: ReadText): number {
  let quota = Infinity
  for (const line of (read('/proc/self/cgroup') ?? '').split('\n')) {
    const match = /^\d+:([^:]*):(.*)$/.exec(line)
    if (match === null) continue
    const controllers = match[1].split(',')
    for (const folder of ancestors(match[2])) {
      if (match[1] === '') {
        for (const root of ['/sys/fs/cgroup', '/sys/fs/cgroup/unified']) {
          quota = Math.min(quota, quotaOfMax(read(join(root, folder, 'cpu.max'))))
        }
      } else if (controllers.includes('cpu')) {
        for (const root of new Set([match[1], 'cpu', 'cpu,cpuacct'])) {
          const base = join('/sys/fs/cgroup', root, folder)
          quota = Math.min(
            quota,
            quotaOfMax(
              `${read(join(base, 'cpu.cfs_quota_us')) ?? ''} ${
                read(join(base, 'cpu.cfs_period_us')) ?? ''
              }`,
            ),
          )
        }
      }
    }
  }
  return quota
}

/** `/a/b` -> `/a/b`, `/a`, `/`. */
function ancestors(path: string): string[] {
  const parts = path.split('/').filter((part) => part !== '' && part !== '..')
  const folders = ['/']
  for (let i = 0; i < parts.length; i++) folders.unshift('/' + parts.slice(0, i + 1).join('/'))
  return folders
}

/** `200000 100000` -> 2; `max 100000` and `-1 100000` (unlimited), or nothing -> Infinity. */
function quotaOfMax(text: string | undefined): number {
  const match = /^(\d+)\s+(\d+)/.exec(text?.trim() ?? '')
  if (match === null) return Infinity
  const quota = Number(match[1]) / Number(match[2])
  return quota > 0 ? quota : Infinity
}

/**
 * The CPUs for workers. `requested` is `--cpus`; empty means all that the process may use.
 * Throws (exit 78) when none of the requested ones is allowed. Undefined where the system does not
 * tell (no /proc): then nothing can be pinned.
 */
export function chooseCpus(read: ReadText, requested: readonly number[]): Cpus | undefined {
  const allowed = allowedCpus(read)
  if (allowed === undefined || allowed.length === 0) return undefined
  const usable = requested.length === 0 ? allowed : allowed.filter((cpu) => requested.includes(cpu))
  if (usable.length === 0) {
    throw new ObfeedError(
      'E_CONFIG',
      `none of the CPUs ${formatCpuList(requested)} (--cpus) may be used by this process; ` +
        `allowed are ${formatCpuList(allowed)}: choose among them, or widen the process's ` +
        'affinity (taskset, cpuset, AllowedCPUs=)',
      { scope: 'agent', exitCode: EXIT.config },
    )
  }
  const cores = groupByCore(read, usable)
  // With --cpus the user has done the sharing out himself: nothing is held back then.
  const shared = requested.length === 0 && cores.length >= CORES_TO_SHARE
  if (shared) cores.push(cores.shift() as number[])
  const order: number[] = []
  for (let thread = 0; order.length < usable.length; thread++) {
    for (const core of cores) if (thread < core.length) order.push(core[thread])
  }
  const quota = cpuQuota(read)
  return {
    order,
    automatic: Math.min(cores.length - (shared ? 1 : 0), Math.max(1, Math.floor(quota))),
    quota,
    cores: cores.length,
    refused: requested.filter((cpu) => !allowed.includes(cpu)),
  }
}

/** The usable threads of each physical core, by their lowest CPU. */
function groupByCore(read: ReadText, usable: readonly number[]): number[][] {
  const cores: number[][] = []
  const seen = new Set<number>()
  for (const cpu of usable) {
    if (seen.has(cpu)) continue
    const text = read(`/sys/devices/system/cpu/cpu${cpu}/topology/thread_siblings_list`)
    const siblings = parseCpuList(text ?? '') ?? [cpu]
    const core = usable.filter((other) => other === cpu || siblings.includes(other))
      .filter((other) => !seen.has(other))
    for (const thread of core) seen.add(thread)
    cores.push(core)
  }
  return cores
}

/** Absolute path of `taskset`; undefined when this host has none. */
export function findTaskset(
  path: string | undefined,
  isExecutable: (file: string) => boolean = canExecute,
): string | undefined {
  const folders = ['/usr/bin', '/bin', ...(path ?? '').split(delimiter)]
  for (const folder of folders) {
    if (!folder.startsWith('/')) continue
    const file = join(folder, 'taskset')
    if (isExecutable(file)) return file
  }
  return undefined
}

function canExecute(file: string): boolean {
  try {
    accessSync(file, constants.X_OK)
    return true
  } catch {
    return false
  }
}
