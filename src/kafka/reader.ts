/** Reads given partitions of one topic without a consumer group, from any offset or time. */
import { EXIT, ObfeedError } from '../core/errors.ts'
import type { KafkaClient, Session } from './client.ts'
import { authorisationError, classifyFailure, protocolError } from './failure.ts'
import { newCluster } from './heads.ts'
import type { Cluster } from './kafkajs-internals.ts'
import { errorOf, fetchPartitions } from './fetch.ts'
import type { FetchedPartition } from './fetch.ts'
import { batchesOf, isControlBatch, recordsOf, UnreadableBatch } from './record-batch.ts'
import type { BatchHeader } from './record-batch.ts'

export interface TopicRecord {
  readonly partition: number
  readonly offset: number
  /** UTF-8 decoded; empty when the record has none. */
  readonly key: string
  /** Owned by the receiver. */
  readonly value: Uint8Array
  readonly timestampMs: number
  /** `host/pid/version` of who published it, on all but deltas; undefined: not said. */
  readonly producer: string | undefined
}

export interface ReadOptions {
  readonly topic: string
  readonly partitions: readonly number[]
  /** Ms since 1970: the first record not older; when there is none, whatever comes next. */
  readonly from: 'earliest' | 'latest' | { readonly timestampMs: number }
  readonly signal: AbortSignal
  /** Synchronous; records of one partition come in order, each once. */
  onRecord(record: TopicRecord): void
  /** Once, with the first offset to read and the end of the log at that time, by partition. */
  onStart?(positions: ReadonlyMap<number, Position>): void
  /** Asked between two fetches: nothing more is read until the promise resolves. */
  pace?(): Promise<void> | undefined
  /** Something failed and is tried again. */
  onRetry?(error: Error): void
  /** An answer came after `onRetry`. */
  onBack?(): void
  /** Records that cannot be read are left out: `offset` is the first one of them. */
  onUnreadable?(partition: number, offset: number, reason: string): void
}

export interface Position {
  readonly start: number
  readonly end: number
}

const FETCH_WAIT_MS = 250
const FETCH_BYTES = 16 * 1024 * 1024
const PARTITION_BYTES = 4 * 1024 * 1024
const OFFSET_OUT_OF_RANGE = 1
const BACKOFF_MIN_MS = 50
const BACKOFF_MAX_MS = 2_000
/** How long nothing may answer before the first record position is known. */
const START_TIMEOUT_MS = 15_000

/**
 * Resolves when `signal` aborts. Survives broker restarts and leader moves. Rejects with an
 * `ObfeedError` when no broker answers at the start (exit 69), the topic or a partition is not there
 * (78), or reading is not permitted (77).
 */
export async function readTopic(client: KafkaClient, options: ReadOptions): Promise<void> {
  await new Reader(client, options).run()
}

class Reader {
  readonly #client: KafkaClient
  readonly #options: ReadOptions
  /** Next offset by partition; absent: not known yet. */
  readonly #next = new Map<number, number>()
  /** Partitions that hold what cannot be read, without an end that can be found. */
  readonly #unreadable = new Set<number>()
  readonly #decoder = new TextDecoder()
  #session: Session | undefined
  #failures = 0

  constructor(client: KafkaClient, options: ReadOptions) {
    this.#client = client
    this.#options = options
  }

  async run(): Promise<void> {
    const { signal, onRetry } = this.#options
    const startBy = performance.now() + START_TIMEOUT_MS
    const stop = () => this.#session?.abort()
    signal.addEventListener('abort', stop)
    try {
      while (!signal.aborted) {
        try {
          await this.#readUntilFailure()
        } catch (error) {
          if (signal.aborted) return
          const failure = this.#judge(error)
          const hasStarted = this.#next.size > 0
          if (!hasStarted && performance.now() > startBy) throw failure
          onRetry?.(failure)
          await this.#backOff()
        } finally {
          this.#session?.abort()
        }
      }
    } finally {
      signal.removeEventListener('abort', stop)
    }
  }

  /** The error to report; throws it when trying again cannot help. */
  #judge(error: unknown): Error {
    const { topic } = this.#options
    if (protocolError(error) === 'TOPIC_AUTHORIZATION_FAILED') {
      throw authorisationError(this.#client, topic, ['Read', 'Describe'], error)
    }
    // Before the start a missing topic is a mistake; later it may be a broker that just came up.
    if (protocolError(error) === 'UNKNOWN_TOPIC_OR_PARTITION' && this.#next.size === 0) {
      throw this.#missing(`there is no topic ${topic}`, error)
    }
    const failure = classifyFailure(this.#client, topic, error)
    if (failure instanceof ObfeedError && failure.code !== 'E_UNAVAILABLE') throw failure
    return failure
  }

  #missing(found: string, cause?: unknown): ObfeedError {
    const brokers = this.#client.brokers.join(',')
    return new ObfeedError(
      'E_CONFIG',
      `${found}; expected the topic that obfeed publishes to; look at kafka-topics.sh ` +
        `--bootstrap-server ${brokers} --describe --topic ${this.#options.topic}`,
      { scope: 'agent', exitCode: EXIT.config, cause },
    )
  }

  async #backOff(): Promise<void> {
    const ms = Math.min(BACKOFF_MAX_MS, BACKOFF_MIN_MS * 2 ** Math.min(this.#failures, 8))
    this.#failures += 1
    const { signal } = this.#options
    await new Promise<void>((resolve) => {
      const done = () => {
        clearTimeout(timer)
        signal.removeEventListener('abort', done)
        resolve()
      }
      const timer = setTimeout(done, ms)
      signal.addEventListener('abort', done)
    })
  }

  /** One connection's life: leaders are looked up once, then every leader is read in a loop. */
  async #readUntilFailure(): Promise<void> {
    const { topic, partitions, signal } = this.#options
    const cluster = this.#newCluster()
    if (signal.aborted) return
    await cluster.connect()
    await cluster.addTargetTopic(topic)
    await cluster.refreshMetadata()
    const byLeader = new Map<number, number[]>()
    const metadata = cluster.findTopicPartitionMetadata(topic)
    for (const partition of partitions) {
      const known = metadata.find(({ partitionId }) => partitionId === partition)
      if (known === undefined) {
        throw this.#missing(
          `topic ${topic} has ${metadata.length} partitions, so there is no partition ${partition}`,
        )
      }
      if (known.leader < 0) throw new Error(`partition ${partition} has no leader now`)
      const led = byLeader.get(known.leader)
      if (led === undefined) byLeader.set(known.leader, [partition])
      else led.push(partition)
    }
    await this.#position(cluster)
    // The first loop that fails ends the session, and with it the others.
    const loops = [...byLeader].map(([leader, led]) => this.#readLeader(cluster, leader, led))
    try {
      await Promise.all(loops)
    } finally {
      this.#session?.abort()
      await Promise.allSettled(loops)
    }
  }

  #newCluster(): Cluster {
    const { session, cluster } = newCluster(this.#client)
    this.#session = session
    return cluster
  }

  /** Finds where to start, once; whatever was read before stays the position. */
  async #position(cluster: Cluster): Promise<void> {
    const { partitions, from, onStart } = this.#options
    if (this.#next.size === partitions.length) return
    const ends = await this.#offsets(cluster, partitions, { fromBeginning: false })
    let starts = ends
    if (from === 'earliest') {
      starts = await this.#offsets(cluster, partitions, { fromBeginning: true })
    } else if (from !== 'latest') {
      starts = await this.#offsets(cluster, partitions, { fromTimestamp: from.timestampMs })
    }
    const positions = new Map<number, Position>()
    for (const partition of partitions) {
      const end = ends.get(partition) ?? 0
      const start = starts.get(partition) ?? -1
      // -1: no record is that new.
      positions.set(partition, { start: start < 0 ? end : start, end })
    }
    for (const [partition, { start }] of positions) this.#next.set(partition, start)
    onStart?.(positions)
  }

  async #offsets(
    cluster: Cluster,
    partitions: readonly number[],
    at: { fromBeginning: boolean } | { fromTimestamp: number },
  ): Promise<Map<number, number>> {
    const { topic } = this.#options
    const answers = await cluster.fetchTopicsOffset([
      { topic, partitions: partitions.map((partition) => ({ partition })), ...at },
    ])
    const offsets = new Map<number, number>()
    for (const answer of answers) {
      for (const { partition, offset } of answer.partitions) offsets.set(partition, Number(offset))
    }
    return offsets
  }

  async #readLeader(cluster: Cluster, leader: number, led: readonly number[]): Promise<void> {
    const { topic, signal } = this.#options
    const broker = await cluster.findBroker({ nodeId: String(leader) })
    let turn = 0
    while (!signal.aborted) {
      const readable = led.filter((partition) => !this.#unreadable.has(partition))
      // Only the first one is sure to get a batch that is larger than the limits.
      const order = readable.map((_, i) => readable[(i + turn) % readable.length])
      turn += 1
      const answer = await fetchPartitions(broker, {
        topic,
        waitMs: FETCH_WAIT_MS,
        bytesMax: FETCH_BYTES,
        positions: order.map((partition) => ({
          partition,
          offset: this.#next.get(partition) ?? 0,
          bytesMax: PARTITION_BYTES,
        })),
      })
      if (this.#failures > 0) {
        this.#failures = 0
        this.#options.onBack?.()
      }
      const outOfRange: number[] = []
      for (const fetched of answer) {
        if (fetched.errorCode === 0) this.#handle(fetched)
        else if (fetched.errorCode === OFFSET_OUT_OF_RANGE) outOfRange.push(fetched.partition)
        else throw errorOf(fetched.errorCode)
      }
      if (outOfRange.length > 0) await this.#backInRange(cluster, outOfRange)
      const paced = this.#options.pace?.()
      if (paced !== undefined) await paced
    }
  }

  /** Retention was quicker (go on at the oldest record), or the topic was made anew (likewise). */
  async #backInRange(cluster: Cluster, led: readonly number[]): Promise<void> {
    const oldest = await this.#offsets(cluster, led, { fromBeginning: true })
    const ends = await this.#offsets(cluster, led, { fromBeginning: false })
    for (const partition of led) {
      const low = oldest.get(partition)
      const high = ends.get(partition)
      const next = this.#next.get(partition)
      if (low === undefined || high === undefined || next === undefined) continue
      if (next < low || next > high) this.#next.set(partition, low)
    }
  }

  #handle(fetched: FetchedPartition): void {
    const { partition, records } = fetched
    try {
      for (const batch of batchesOf(records)) {
        if (!batch.isWhole || this.#options.signal.aborted) return
        if (!isControlBatch(batch)) this.#deliver(partition, batch)
        this.#next.set(partition, Math.max(this.#next.get(partition) ?? 0, batch.lastOffset + 1))
      }
    } catch (error) {
      if (!(error instanceof UnreadableBatch)) throw error
      this.#leaveOut(partition, error)
    }
  }

  #deliver(partition: number, batch: BatchHeader): void {
    const { signal, onRecord } = this.#options
    for (const record of recordsOf(batch)) {
      if (signal.aborted) return
      const { offset, key, value, timestampMs, producer } = record
      // A batch comes whole, also when its middle was asked for.
      if (offset < (this.#next.get(partition) ?? 0)) continue
      this.#next.set(partition, offset + 1)
      if (value === null) continue
      onRecord({
        partition,
        offset,
        key: key === null ? '' : this.#decoder.decode(key),
        value,
        timestampMs,
        producer,
      })
    }
  }

  /** The batch; or, when nobody can say where the next one begins, the partition. */
  #leaveOut(partition: number, error: UnreadableBatch): void {
    const offset = this.#next.get(partition) ?? 0
    if (error.lastOffset === undefined) this.#unreadable.add(partition)
    else this.#next.set(partition, error.lastOffset + 1)
    this.#options.onUnreadable?.(partition, offset, error.message)
  }
}
