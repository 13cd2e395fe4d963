/** A worker's feed in numbers: plain data, sent to the parent once a second. */
import type { InvalidReason } from '../core/event.ts'

export type BookState = 'syncing' | 'live' | 'suspect'

export interface BookStats {
  readonly symbol: string
  readonly partition: number
  state: BookState
  stale: boolean
  /** Why it is not live, while it is not. */
  reason?: InvalidReason
  epoch: number
  seq: number
  /** The exchange's sequence of the last book that was published, text beyond 2^53. */
  nonce?: number | string
  /** Exchange time of that book, ms. */
  timestampMs?: number
  /** Published deltas and snapshots since start. */
  updates: number
  /** Times the book was lost, by reason, since start. */
  readonly resyncs: Partial<Record<InvalidReason, number>>
  /** ms since 1970 of the last exchange message for it; 0 = none yet. */
  lastUpdateMs: number
  bidLevels: number
  askLevels: number
}

/** Taken; not served; to be asked for later; not answered usably. */
export type SnapshotOutcome = 'ok' | 'refused' | 'limited' | 'failed'

export interface FeedStats {
  frames: number
  bytes: number
  scannerFallbacks: number
  unknownFrames: number
  duplicates: number
  connections: number
  connectionsOpen: number
  /** Sockets opened again after a loss, by reason. */
  readonly reconnects: Record<string, number>
  /** REST snapshots answered, by outcome. */
  readonly snapshotAnswers: Record<SnapshotOutcome, number>
  /** REST snapshots that are wanted and not there yet. */
  snapshotsWaiting: number
  /** Why the exchange is asked for nothing at present; empty: it may be asked. */
  held: string
  /** For how long still, ms. */
  heldMs: number
  /** Highest epoch in use. */
  epochMax: number
  readonly books: BookStats[]
}
