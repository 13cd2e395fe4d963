/** One place for a worker: what outlives its processes. */
import type { WorkerPlan } from '../config/plan.ts'
import { EpochFloor } from './epochs.ts'
import type { BookStats } from '../feed/stats.ts'
import type { WorkerStats } from './messages.ts'
import type { WorkerProcess } from './process.ts'
import type { RestartHistory } from './restarts.ts'
import { addStats, addTotals, emptyTotals, type Totals } from './totals.ts'
import type { WorkerState, WorkerView } from './view.ts'

/** A worker to be started: its number, and the CPU it is pinned to. */
export interface WorkerSeat {
  readonly id: number
  readonly cpu?: number
}

export class WorkerSlot {
  readonly id: number
  readonly cpu: number | undefined
  readonly history: RestartHistory
  state: WorkerState = 'starting'
  plan: WorkerPlan | undefined = undefined
  /** The running life; undefined between two lives. */
  process: WorkerProcess | undefined = undefined
  /** It answered, and is of our build. */
  greeted = false
  /** Its `drained` said that everything was acknowledged, or there was nothing to drain. */
  drained = false
  /** It has published a live book at some time. */
  everServed = false
  /** Monotonic, ms. */
  startedMs = 0
  /** Wall clock, ms. */
  startedWallMs = 0
  heartbeatWallMs = 0
  readonly epochs: EpochFloor = new EpochFloor()
  stats: WorkerStats | undefined = undefined
  /** Its books as they were reported last, also of a life that is over. */
  books: readonly BookStats[] = []
  /** What its last `fatal` said. */
  fatal: { readonly scope: string; readonly message: string } | undefined = undefined
  readonly restarts: Record<string, number> = {}
  timer: ReturnType<typeof setTimeout> | undefined = undefined
  readonly #past: Totals = emptyTotals()

  constructor(seat: WorkerSeat, history: RestartHistory) {
    this.id = seat.id
    this.cpu = seat.cpu
    this.history = history
  }

  received(stats: WorkerStats): void {
    this.stats = stats
    this.books = stats.feed.books
    this.epochs.reported(stats.feed.epochMax)
    this.everServed ||= stats.sink.connected &&
      stats.feed.books.some((book) => book.state === 'live')
  }

  /** The life is over: its counters are kept, its gauges forgotten. */
  ended(): void {
    if (this.stats !== undefined) addStats(this.#past, this.stats)
    this.stats = undefined
    this.process = undefined
    this.greeted = false
  }

  view(): WorkerView {
    const totals = addTotals(emptyTotals(), this.#past)
    if (this.stats !== undefined) addStats(totals, this.stats)
    return {
      id: this.id,
      cpu: this.cpu,
      pid: this.process?.pid,
      state: this.state,
      startedMs: this.startedWallMs,
      heartbeatMs: this.heartbeatWallMs,
      restarts: this.restarts,
      plan: this.plan,
      stats: this.stats,
      totals,
    }
  }
}
