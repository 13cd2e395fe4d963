/** What parent and workers say to each other over IPC, as JSON. */
import type { PlannedSymbol } from '../core/instrument.ts'
import type { Scope } from '../core/errors.ts'
import type { LogLevel, Settings } from '../config/settings.ts'
import type { WorkerPlan } from '../config/plan.ts'
import type { SinkStats } from '../sinks/sink.ts'
import type { Hold } from '../feed/address.ts'
import type { FeedStats } from '../feed/stats.ts'
import type { LastPublished } from '../kafka/last-published.ts'
import type { RivalStats } from '../kafka/rivals.ts'

export type ToWorker =
  | {
    readonly type: 'plan'
    readonly settings: Settings
    readonly plan: WorkerPlan
    /** `host/pid/version` of the agent, as records carry it. */
    readonly producer: string
    /** What the topic holds of its symbols from before this agent, as far as it is known. */
    readonly published?: Readonly<Record<string, LastPublished>>
    /**
     * Every epoch of this worker must be greater: none that its predecessors used is. 0: there was
     * no predecessor.
     */
    readonly epochFloor: number
    /** What another worker was told before this one began. */
    readonly held?: Hold
  }
  | { readonly type: 'drain'; readonly timeoutMs: number }
  /** The exchange told another worker, and so this address, to ask for nothing so long. */
  | { readonly type: 'held'; readonly hold: Hold }
  /** These symbols of the plan are traded again, as they are listed now. */
  | { readonly type: 'wake'; readonly symbols: readonly PlannedSymbol[] }
  /** Answers `drained`: the worker may exit. */
  | { readonly type: 'goodbye' }

/** Log messages since the process started, by level, and lines the reader was too slow for. */
export type LogCounts = Record<LogLevel | 'dropped', number>

/** How a worker fares with the cluster, beyond what every sink tells. */
export interface KafkaStats {
  /** Others that publish its symbols. */
  readonly rivals: readonly RivalStats[]
  /** Epochs begun because of them. */
  readonly rivalEpochs: number
  /** Asked for by the broker's quotas, in all and the last time, ms. */
  readonly throttledMs: number
  readonly throttleMs: number
  readonly isThrottled: boolean
  /** How long every try to reach the cluster has failed, ms; 0: none did since something answered. */
  readonly failingMs: number
  readonly lastError?: string
}

export interface WorkerStats {
  readonly feed: FeedStats
  readonly sink: SinkStats
  /** Absent with another sink. */
  readonly kafka?: KafkaStats
  readonly rssBytes: number
  readonly cpuSeconds: number
  /** Longest time the event loop was late since the last message. */
  readonly loopLagMs: number
  readonly logs: LogCounts
}

export type FromWorker =
  /** At once, and once a second until there is a plan. */
  | { readonly type: 'hello'; readonly pid: number; readonly buildId: string }
  /** Once a second: counters, and the sign that the event loop turns. */
  | { readonly type: 'stats'; readonly stats: WorkerStats }
  /** The worker ends with `exitCode` right after. Scope `agent`: restarting it would not help. */
  | {
    readonly type: 'fatal'
    readonly scope: Scope
    readonly code: string
    readonly message: string
    readonly exitCode: number
  }
  /** The exchange told this address to wait: every other worker must hear it. */
  | { readonly type: 'held'; readonly hold: Hold }
  /** `stats` absent: there was no plan yet, so nothing to drain. */
  | { readonly type: 'drained'; readonly complete: boolean; readonly stats?: WorkerStats }
