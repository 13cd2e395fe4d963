/** Counters of a worker over all its lives, so that what is exposed never falls at a restart. */
import type { InvalidReason } from '../core/event.ts'
import type { SnapshotOutcome } from '../feed/stats.ts'
import type { LogCounts, WorkerStats } from './messages.ts'

export interface BookTotals {
  updates: number
  readonly resyncs: Partial<Record<InvalidReason, number>>
}

export interface Totals {
  frames: number
  bytes: number
  scannerFallbacks: number
  unknownFrames: number
  duplicates: number
  readonly reconnects: Record<string, number>
  readonly snapshotAnswers: Partial<Record<SnapshotOutcome, number>>
  readonly books: Map<string, BookTotals>
  sentRecords: number
  sentBytes: number
  droppedRecords: number
  sinkErrors: number
  sinkRetries: number
  rivalEpochs: number
  throttledMs: number
  readonly latencyBuckets: number[]
  latencySumS: number
  latencyCount: number
  cpuSeconds: number
  readonly logs: LogCounts
}

export function emptyTotals(): Totals {
  return {
    frames: 0,
    bytes: 0,
    scannerFallbacks: 0,
    unknownFrames: 0,
    duplicates: 0,
    reconnects: {},
    snapshotAnswers: {},
    books: new Map(),
    sentRecords: 0,
    sentBytes: 0,
    droppedRecords: 0,
    sinkErrors: 0,
    sinkRetries: 0,
    rivalEpochs: 0,
    throttledMs: 0,
    latencyBuckets: [],
    latencySumS: 0,
    latencyCount: 0,
    cpuSeconds: 0,
    logs: { error: 0, warn: 0, info: 0, debug: 0, trace: 0, dropped: 0 },
  }
}

/** Adds one life's counters: those of a dead worker for good, those of a living one for a look. */
export function addStats(totals: Totals, stats: WorkerStats): Totals {
  const { feed, sink, kafka, cpuSeconds, logs } = stats
  return addTotals(totals, {
    ...feed,
    books: new Map(feed.books.map((book) => [book.symbol, book])),
    ...sink,
    sinkErrors: sink.errors,
    sinkRetries: sink.retries,
    rivalEpochs: kafka?.rivalEpochs ?? 0,
    throttledMs: kafka?.throttledMs ?? 0,
    cpuSeconds,
    logs,
  })
}

export function addTotals(totals: Totals, other: Totals): Totals {
  totals.frames += other.frames
  totals.bytes += other.bytes
  totals.scannerFallbacks += other.scannerFallbacks
  totals.unknownFrames += other.unknownFrames
  totals.duplicates += other.duplicates
  addCounts(totals.reconnects, other.reconnects)
  addCounts(totals.snapshotAnswers, other.snapshotAnswers)
  for (const [symbol, book] of other.books) addBook(totals, symbol, book)
  totals.sentRecords += other.sentRecords
  totals.sentBytes += other.sentBytes
  totals.droppedRecords += other.droppedRecords
  totals.sinkErrors += other.sinkErrors
  totals.sinkRetries += other.sinkRetries
  totals.rivalEpochs += other.rivalEpochs
  totals.throttledMs += other.throttledMs
  addBuckets(totals.latencyBuckets, other.latencyBuckets)
  totals.latencySumS += other.latencySumS
  totals.latencyCount += other.latencyCount
  totals.cpuSeconds += other.cpuSeconds
  addCounts(totals.logs, other.logs)
  return totals
}

function addBook(totals: Totals, symbol: string, book: BookTotals): void {
  let total = totals.books.get(symbol)
  if (total === undefined) totals.books.set(symbol, total = { updates: 0, resyncs: {} })
  total.updates += book.updates
  addCounts(total.resyncs, book.resyncs)
}

function addCounts<K extends string>(
  target: Partial<Record<K, number>>,
  counts: Readonly<Partial<Record<K, number>>>,
): void {
  for (const key in counts) target[key] = (target[key] ?? 0) + (counts[key] ?? 0)
}

function addBuckets(target: number[], buckets: readonly number[]): void {
  for (let i = 0; i < buckets.length; i++) target[i] = (target[i] ?? 0) + buckets[i]
}
