/** What the ends of the partitions say of each symbol: by whom it was published last, and what. */
import { peekEvent } from '../core/event-peek.ts'
import type { EventPeek } from '../core/event-peek.ts'
import type { KafkaClient } from './client.ts'
import { fetchPartitions } from './fetch.ts'
import type { FetchPosition } from './fetch.ts'
import { groupByLeader, newCluster, readOffsets } from './heads.ts'
import type { Cluster } from './kafkajs-internals.ts'
import { batchesOf, isControlBatch, recordsOf, UnreadableBatch } from './record-batch.ts'

/** Of one symbol; plain data, for it travels to the workers. */
export interface LastPublished {
  /** Every epoch of a new run must be greater. */
  readonly epoch: number
  /** The exchange's sequence of its last book, text beyond 2^53; absent: unknown. */
  readonly nonce?: number | string
  /** Exchange time of its last book, ms; absent: unknown. */
  readonly timestampMs?: number
  /** `host/pid/version`; absent: the last records do not say. */
  readonly producer?: string
  /** Record time of its last record, ms since 1970. */
  readonly recordMs: number
  /** Its last record says that its agent was stopped. */
  readonly hasEnded: boolean
}

/** Records at the end of a partition that are read, for each symbol of it. */
const RECORDS_PER_SYMBOL = 64
const RECORDS_MAX = 2_000
const PARTITION_BYTES = 512 * 1024
const REQUEST_BYTES = 16 * 1024 * 1024

/**
 * Reads the ends of the partitions, for `timeoutMs` at most. Never rejects: what could not be read
 * in time is missing. A symbol that no record at the end names begins above the newest record time
 * of its partition, for an epoch is never ahead of its writer's clock.
 */
export async function readLastPublished(
  client: KafkaClient,
  topic: string,
  partitionOf: ReadonlyMap<string, number>,
  timeoutMs: number,
): Promise<Map<string, LastPublished>> {
  const tails = new Map<number, Tail>()
  for (const [symbol, partition] of partitionOf) {
    const tail = tails.get(partition) ?? new Tail()
    tails.set(partition, tail)
    tail.symbols.add(symbol)
  }
  const { session, cluster } = newCluster(client)
  const timer = setTimeout(() => session.abort(), timeoutMs)
  try {
    await cluster.connect()
    await cluster.addTargetTopic(topic)
    await cluster.refreshMetadata()
    await readTails(cluster, topic, tails, performance.now() + timeoutMs)
  } catch {
    // Better to start without than not at all: the watch for other publishers finds out later.
  } finally {
    clearTimeout(timer)
    session.abort()
  }
  const found = new Map<string, LastPublished>()
  for (const tail of tails.values()) tail.tell(found)
  return found
}

async function readTails(
  cluster: Cluster,
  topic: string,
  tails: ReadonlyMap<number, Tail>,
  deadlineMs: number,
): Promise<void> {
  const partitions = [...tails.keys()]
  const [ends, starts] = await Promise.all([
    readOffsets(cluster, topic, partitions, 'latest'),
    readOffsets(cluster, topic, partitions, 'earliest'),
  ])
  for (const [partition, tail] of tails) {
    tail.end = ends.get(partition) ?? 0
    const records = Math.min(RECORDS_MAX, RECORDS_PER_SYMBOL * tail.symbols.size)
    tail.next = Math.max(starts.get(partition) ?? 0, tail.end - records)
  }
  const leaders = [...groupByLeader(cluster, topic, partitions)]
  await Promise.all(leaders.map(async ([leader, led]) => {
    const broker = await cluster.findBroker({ nodeId: String(leader) })
    for (;;) {
      const positions: FetchPosition[] = []
      for (const partition of led) {
        const { next, end } = tails.get(partition)!
        if (next < end) positions.push({ partition, offset: next, bytesMax: PARTITION_BYTES })
      }
      if (positions.length === 0 || performance.now() > deadlineMs) return
      const before = positions.reduce((sum, { offset }) => sum + offset, 0)
      const answer = await fetchPartitions(broker, {
        topic,
        positions,
        waitMs: 0,
        bytesMax: REQUEST_BYTES,
      })
      for (const { partition, records } of answer) tails.get(partition)?.read(records)
      const after = positions.reduce((sum, { partition }) => sum + tails.get(partition)!.next, 0)
      if (after === before) return // nothing that can be read
    }
  }))
}

/** The end of one partition. */
class Tail {
  readonly symbols = new Set<string>()
  next = 0
  end = 0
  #newestMs = 0
  readonly #found = new Map<string, LastPublished>()

  read(bytes: Uint8Array): void {
    try {
      for (const batch of batchesOf(bytes)) {
        if (!batch.isWhole) return
        this.next = Math.max(this.next, batch.lastOffset + 1)
        this.#newestMs = Math.max(this.#newestMs, batch.maxTimestampMs)
        if (isControlBatch(batch)) continue
        for (const { key, value, producer, timestampMs } of recordsOf(batch)) {
          const event = value === null ? undefined : peekEvent(value)
          const symbol = key?.toString() ?? ''
          if (event === undefined || !this.symbols.has(symbol)) continue
          this.#found.set(symbol, merge(this.#found.get(symbol), event, producer, timestampMs))
        }
      }
    } catch (error) {
      if (!(error instanceof UnreadableBatch)) throw error
      this.next = error.lastOffset === undefined ? this.end : error.lastOffset + 1
    }
  }

  tell(found: Map<string, LastPublished>): void {
    if (this.#newestMs === 0) return
    for (const symbol of this.symbols) {
      found.set(
        symbol,
        this.#found.get(symbol) ??
          { epoch: this.#newestMs, recordMs: this.#newestMs, hasEnded: true },
      )
    }
  }
}

/** What is known after one more record; a zombie of a lower epoch changes nothing. */
function merge(
  known: LastPublished | undefined,
  event: EventPeek,
  producer: string | undefined,
  recordMs: number,
): LastPublished {
  if (known !== undefined && event.epoch < known.epoch) return known
  const isBook = event.type === 'snapshot' || event.type === 'delta'
  const nonce = isBook ? event.nonce : known?.nonce
  const timestampMs = isBook ? event.timestampMs : known?.timestampMs
  const name = producer ?? (event.epoch === known?.epoch ? known.producer : undefined)
  return {
    epoch: event.epoch,
    ...(nonce === undefined ? {} : { nonce }),
    ...(timestampMs === undefined ? {} : { timestampMs }),
    ...(name === undefined ? {} : { producer: name }),
    recordMs,
    hasEnded: event.reason === 'shutdown' ||
      (event.type === 'heartbeat' && known?.hasEnded === true && event.epoch === known.epoch),
  }
}
