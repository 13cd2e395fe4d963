/** Where event bytes go: Kafka, or stdout. */
import type { ObfeedError } from '../core/errors.ts'
import type { PlannedSymbol } from '../core/instrument.ts'

/** Event kinds as the sink needs to tell them apart. */
export const KIND_SNAPSHOT = 0
export const KIND_DELTA = 1
export const KIND_INVALID = 2
export const KIND_HEARTBEAT = 3
export type EventKind = 0 | 1 | 2 | 3

/** What a sink tells the feed. A stream is the index of a symbol in the worker's list. */
export interface SinkEvents {
  /**
   * Events of this stream that were pushed will not (or perhaps not) be delivered: its backlog was
   * dropped over the queue limit, or its producer identity is spent. The feed publishes nothing
   * more under the running epoch; after `writable` it begins a new one with a snapshot.
   * May be called from inside `push`.
   */
  dropped(stream: number, events: number): void
  /** Follows each `dropped`, once, when there is room again; never from inside `push`. */
  writable(stream: number): void
  /** `--when-full block`: stop and start reading the sockets. */
  pressure(full: boolean): void
  /** The sink cannot go on (`--when-full exit`, topic gone, authorisation lost). */
  failed(error: ObfeedError): void
}

/** Counters, read once per second; all monotonic but those that say "now". */
export interface SinkStats {
  connected: boolean
  /** Now in the queue. */
  queuedRecords: number
  queuedBytes: number
  /** Since the oldest event that is not acknowledged was handed over, ms; 0: there is none. */
  oldestMs: number
  sentRecords: number
  sentBytes: number
  droppedRecords: number
  errors: number
  retries: number
  /** Hand-over to acknowledgement: cumulative counts per bucket of `LATENCY_BUCKETS_S`, and sum. */
  readonly latencyBuckets: number[]
  latencySumS: number
  latencyCount: number
}

/** Upper bounds in seconds, 2x apart; one more bucket counts the rest. */
export const LATENCY_BUCKETS_S: readonly number[] = [
  0.0005,
  0.001,
  0.002,
  0.004,
  0.008,
  0.016,
  0.032,
  0.064,
  0.128,
  0.256,
  0.512,
  1.024,
  2.048,
  4.096,
  8.192,
]

/** What every destination takes in one record, by default: a broker's limit is 1 MiB for a batch. */
export const RECORD_BYTES_MAX = 700_000

export interface Sink {
  readonly stats: SinkStats
  /** Bytes of the largest event it takes now. It may become less, when its destination takes less. */
  readonly recordBytesMax: number
  /** Resolves when the destination accepts writes. `streams[i]` is stream i. Call once, first. */
  start(streams: readonly PlannedSymbol[], events: SinkEvents): Promise<void>
  /**
   * Takes one event, the bytes `[start, end)`, valid only during the call (the sink copies). Never
   * waits, never throws. False: not taken, because the stream is between `dropped` and `writable`.
   * An `invalid` event is always taken: room for one per stream is reserved.
   */
  push(
    stream: number,
    kind: EventKind,
    bytes: Uint8Array,
    start: number,
    end: number,
    timestampMs: number,
  ): boolean
  /** True when everything pushed before the call was acknowledged within the time. */
  flush(timeoutMs: number): Promise<boolean>
  close(): Promise<void>
}
