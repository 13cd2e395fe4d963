/** Who serves what: symbols dealt over workers and sockets. Pure. */
import { type Adapter, depthOf, type Limits } from '../exchanges/adapter.ts'
import type { DormantSymbol, Instrument, PlannedSymbol } from '../core/instrument.ts'

/** One worker's share; plain data, sent to it as JSON. */
export interface WorkerPlan {
  readonly id: number
  /** Logical CPU to pin to; absent when not pinned. */
  readonly cpu?: number
  /** One entry per socket. */
  readonly connections: readonly (readonly PlannedSymbol[])[]
  /** Not traded at present: said to be so, and served once they are. Absent: none. */
  readonly dormant?: readonly DormantSymbol[]
  /** This worker's part of the per-IP budgets, in (0, 1]. */
  readonly budgetShare: number
}

export interface PlanInput {
  readonly symbols: readonly PlannedSymbol[]
  readonly dormant?: readonly DormantSymbol[]
  /** Wanted; fewer are planned when there are fewer symbols. At least 1. */
  readonly workers: number
  /** CPUs in the order workers take them, from the front again when there are more workers. Empty: not pinned. */
  readonly cpus: readonly number[]
  readonly limits: Pick<Limits, 'symbolsPerConnection'>
  /** Symbols of different segments do not share a socket. Absent: all may. */
  readonly segment?: ((instrument: Instrument) => string) | undefined
}

/**
 * Deals the symbols like cards, first to workers, then to each worker's sockets: shares differ by at
 * most one, and neighbours in the map, which tend to be alike in load, land on different workers.
 * The same input gives the same plan.
 */
export function makePlan(
  { symbols, dormant = [], workers, cpus, limits, segment }: PlanInput,
): WorkerPlan[] {
  const count = Math.min(workers, symbols.length + dormant.length)
  // From the other end: where there are more workers than symbols, each has something to do.
  const resting = deal(dormant, count).reverse()
  return deal(symbols, count).map((share, id) => {
    const segments = Map.groupBy(share, (symbol) => segment?.(symbol) ?? '')
    const connections = [...segments.values()].flatMap((some) =>
      deal(some, Math.ceil(some.length / limits.symbolsPerConnection))
    )
    return {
      id,
      ...(cpus.length > 0 ? { cpu: cpus[id % cpus.length]! } : {}),
      connections,
      ...(resting[id]!.length > 0 ? { dormant: resting[id]! } : {}),
      budgetShare: 1 / count,
    }
  })
}

function deal<Card>(cards: readonly Card[], hands: number): Card[][] {
  const dealt: Card[][] = Array.from({ length: hands }, () => [])
  cards.forEach((card, i) => dealt[i % hands]!.push(card))
  return dealt
}

/** One sentence when the exchange does not serve the depth that is wanted (0 = full). */
export function depthWarning(adapter: Adapter, wanted: number): string[] {
  const { view } = depthOf(adapter, wanted)
  if (view === wanted) return []
  const asked = wanted === 0 ? 'full books' : `${wanted} levels a side`
  return [`${asked} are wanted, ${adapter.exchange} can serve ${view} at most; those are published`]
}
