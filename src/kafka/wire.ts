/**
 * The narrow waist between the publisher (what to send, when, in which order) and the client
 * library (how). `kafkajs-wire.ts` is the real one; a later pipelined lane and the simulated broker
 * of the test worlds implement the same.
 */
import type { EventKind } from '../sinks/sink.ts'

export interface WireRecord {
  /** Symbol, UTF-8. */
  readonly key: Uint8Array
  readonly value: Uint8Array
  /**
   * CreateTime, ms since 1970; near the present, or a broker that restarts takes the producer for
   * long gone (`producer.id.expiration.ms`, one day) and no longer knows a repeated batch.
   */
  readonly timestampMs: number
  readonly kind: EventKind
}

export interface PartitionBatch {
  readonly partition: number
  readonly records: readonly WireRecord[]
}

/**
 * One idempotent producer identity. While every `send` is awaited before the next, what it stored is
 * stored exactly once and in order. After a rejected `send`, or an acknowledgement that misses a
 * partition, the outcome is unknown and the identity is spent: close it and open another.
 */
export interface WireProducer {
  /** Resolves with the partitions that were acknowledged. */
  send(batches: readonly PartitionBatch[]): Promise<readonly number[]>
  /** Never rejects, never waits longer than a second. */
  close(): Promise<void>
}

export interface Wire {
  /**
   * Partition -> broker id of its leader, fresh from the cluster; -1: it exists but has no leader at
   * the moment; missing: the cluster does not know it (now). A rejection with an `ObfeedError` other
   * than `E_UNAVAILABLE`, here or below, is final: authorisation, a setting that refuses the data.
   */
  leaders(): Promise<ReadonlyMap<number, number>>
  /** A new identity (InitProducerId), ready to send to partitions of one leader. */
  open(leader: number): Promise<WireProducer>
  close(): Promise<void>
}
