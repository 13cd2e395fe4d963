/** Which partition a symbol gets, and keeps, when a partition map is written. Pure. */
import type { Market } from '../core/instrument.ts'

/** Symbol -> partition, in the order of the file. */
export type Assignment = ReadonlyMap<string, number>

export interface AssignmentInput {
  /** The map as it is; empty: there was none. */
  readonly existing: Assignment
  /** Partitions of symbols that were delisted before. */
  readonly retired: Assignment
  readonly markets: readonly Market[]
  /** Unified symbols to be served, the most important first. */
  readonly wanted: readonly string[]
  /** Partitions in all; absent: each symbol has one of its own. */
  readonly partitions?: number | undefined
  /** Partitions of delisted symbols may be given to others. */
  readonly reuse: boolean
}

export interface AssignmentResult {
  readonly map: Assignment
  readonly retired: Assignment
  readonly added: readonly string[]
  /** In the map until now, but not traded any more; with the partitions they had. */
  readonly delisted: Assignment
}

/**
 * Symbols keep their partition as long as they are traded; one that comes back gets its old one. New
 * ones get the lowest free partition, or, where `partitions` bounds them, one of those that carry the
 * fewest symbols.
 */
export function assignPartitions(input: AssignmentInput): AssignmentResult {
  const traded = new Set(input.markets.filter(({ active }) => active).map(({ symbol }) => symbol))
  const map = new Map<string, number>()
  const retired = new Map(input.retired)
  const delisted = new Map<string, number>()
  for (const [symbol, partition] of input.existing) {
    if (traded.has(symbol)) {
      map.set(symbol, partition)
      retired.delete(symbol)
    } else {
      delisted.set(symbol, partition)
      retired.set(symbol, partition)
    }
  }
  const added: string[] = []
  const returning = new Set(input.wanted)
  for (const symbol of input.wanted) {
    if (map.has(symbol)) continue
    const former = retired.get(symbol)
    retired.delete(symbol)
    const blocked = new Set<number>()
    for (const [other, its] of retired) if (!input.reuse || returning.has(other)) blocked.add(its)
    const partition = former !== undefined && isOpen(former, input.partitions)
      ? former
      : choosePartition(map, blocked, input.partitions)
    map.set(symbol, partition)
    added.push(symbol)
  }
  if (input.reuse) {
    const used = new Set(map.values())
    for (const [symbol, partition] of retired) if (used.has(partition)) retired.delete(symbol)
  }
  return { map, retired, added, delisted }
}

function isOpen(partition: number, partitions: number | undefined): boolean {
  return partitions === undefined || partition < partitions
}

function choosePartition(
  map: Assignment,
  blocked: ReadonlySet<number>,
  partitions: number | undefined,
): number {
  const users = new Map<number, number>()
  for (const partition of map.values()) users.set(partition, (users.get(partition) ?? 0) + 1)
  if (partitions === undefined) {
    let partition = 0
    while (users.has(partition) || blocked.has(partition)) partition++
    return partition
  }
  let best = -1
  for (let partition = 0; partition < partitions; partition++) {
    if (blocked.has(partition) && !users.has(partition)) continue
    const fewer = best < 0 || (users.get(partition) ?? 0) < (users.get(best) ?? 0)
    if (fewer) best = partition
  }
  // Every one is blocked: then a delisted symbol's partition is better than none.
  return Math.max(0, best)
}
