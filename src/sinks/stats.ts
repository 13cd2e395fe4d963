/** The counters of a sink: what they are at first, and what a delivered piece adds. */
import type { InFlight } from './queue.ts'
import { LATENCY_BUCKETS_S } from './sink.ts'
import type { SinkStats } from './sink.ts'

export function newSinkStats(): SinkStats {
  return {
    connected: false,
    queuedRecords: 0,
    queuedBytes: 0,
    oldestMs: 0,
    sentRecords: 0,
    sentBytes: 0,
    droppedRecords: 0,
    errors: 0,
    retries: 0,
    latencyBuckets: new Array(LATENCY_BUCKETS_S.length + 1).fill(0),
    latencySumS: 0,
    latencyCount: 0,
  }
}

/** The piece was delivered at `nowMs`. */
export function countSent(stats: SinkStats, piece: InFlight, nowMs: number): void {
  const buckets = stats.latencyBuckets
  for (let i = 0; i < piece.pushedMs.length; i++) {
    const seconds = (nowMs - piece.pushedMs[i]) / 1000
    let bucket = 0
    while (bucket < LATENCY_BUCKETS_S.length && seconds > LATENCY_BUCKETS_S[bucket]) bucket++
    buckets[bucket] += 1
    stats.latencySumS += seconds
  }
  stats.latencyCount += piece.records.length
  stats.sentRecords += piece.records.length
  stats.sentBytes += piece.bytes
  stats.queuedRecords -= piece.records.length
  stats.queuedBytes -= piece.bytes
}
