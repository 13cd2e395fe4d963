/** Reads given partitions of one topic without a consumer group, from any offset or time. */
import { EXIT, ObfeedError } from '../core/errors.ts'
import { CONNECTION_TIMEOUT_MS, REQUEST_TIMEOUT_MS } from './client.ts'
import type { KafkaClient, Session } from './client.ts'
import { authorisationError, classifyFailure, protocolError } from './failure.ts'
import { ClusterClass } from './kafkajs-internals.ts'
import type { Cluster, FetchedPartition } from './kafkajs-internals.ts'

export interface TopicRecord {
  readonly partition: number
  readonly offset: number
  /** UTF-8 decoded; empty when the record has none. */
  readonly key: string
  /** Owned by the receiver. */
  readonly value: Uint8Array
  readonly timestampMs: number
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
}

export interface Position {
  readonly start: number
  readonly end: number
}

const FETCH_WAIT_MS = 250
const FETCH_BYTES = 16 * 1024 * 1024
const PARTITION_BYTES = 4 * 1024 * 1024
const READ_UNCOMMITTED = 0
const METADATA_AGE_MS = 300_000
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
    const session = this.#client.session({ initialRetryTime: 50, maxRetryTime: 500, retries: 1 })
    this.#session = session
    return new ClusterClass({
      logger: session.kafka.logger(),
      socketFactory: session.socketFactory,
      ...this.#client.security,
      brokers: [...this.#client.brokers],
      clientId: this.#client.clientId,
      connectionTimeout: CONNECTION_TIMEOUT_MS,
      requestTimeout: REQUEST_TIMEOUT_MS,
      enforceRequestTimeout: true,
      metadataMaxAge: METADATA_AGE_MS,
      allowAutoTopicCreation: false,
      isolationLevel: READ_UNCOMMITTED,
      retry: { retries: 1, initialRetryTime: 50, maxRetryTime: 500 },
    })
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
    const fetch = () =>
      broker.fetch({
        maxWaitTime: FETCH_WAIT_MS,
        minBytes: 1,
        maxBytes: FETCH_BYTES,
        isolationLevel: READ_UNCOMMITTED,
        topics: [{
          topic,
          partitions: led.map((partition) => ({
            partition,
            fetchOffset: String(this.#next.get(partition) ?? 0),
            maxBytes: PARTITION_BYTES,
          })),
        }],
      })
    while (!signal.aborted) {
      let answer
      try {
        answer = await fetch()
      } catch (error) {
        if (protocolError(error) !== 'OFFSET_OUT_OF_RANGE') throw error
        await this.#backInRange(cluster, led)
        continue
      }
      this.#failures = 0
      for (const { partitions } of answer.responses) {
        for (const fetched of partitions) this.#handle(fetched)
      }
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
    const { signal, onRecord } = this.#options
    const { partition } = fetched
    let next = this.#next.get(partition) ?? 0
    for (const message of fetched.messages) {
      if (signal.aborted) return
      const offset = Number(message.offset)
      if (offset < next) continue // a batch comes whole, also when its middle was asked for
      next = offset + 1
      this.#next.set(partition, next)
      if (message.isControlRecord === true || message.value === null) continue
      onRecord({
        partition,
        offset,
        key: message.key === null ? '' : this.#decoder.decode(message.key),
        value: message.value,
        timestampMs: Number(message.timestamp),
      })
    }
  }
}
