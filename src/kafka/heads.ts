/**
 * What has been appended to partitions since the last look: the batches' headers, and records only
 * of those that are asked for. Partitions that grow slowly are seen whole, busy ones in samples.
 */
import { CONNECTION_TIMEOUT_MS, REQUEST_TIMEOUT_MS } from './client.ts'
import type { KafkaClient, Session } from './client.ts'
import { errorOf, fetchPartitions } from './fetch.ts'
import type { FetchedPartition } from './fetch.ts'
import { ClusterClass } from './kafkajs-internals.ts'
import type { Cluster } from './kafkajs-internals.ts'
import { batchesOf, UnreadableBatch } from './record-batch.ts'
import type { BatchHeader } from './record-batch.ts'

/** What a look at a partition may carry: enough for the usual one, little for a thousand. */
const GLANCE_BYTES = 256 * 1024
/** Of a partition that is looked at closely. */
const STUDY_BYTES = 1024 * 1024
const REQUEST_BYTES_MAX = 16 * 1024 * 1024
const METADATA_AGE_MS = 300_000
const OFFSET_OUT_OF_RANGE = 1

/** A cluster connection of its own for reading, with the least of retries: the caller has a loop. */
export function newCluster(client: KafkaClient): { session: Session; cluster: Cluster } {
  const retry = { initialRetryTime: 50, maxRetryTime: 500, retries: 1 }
  const session = client.session(retry)
  const cluster = new ClusterClass({
    logger: session.kafka.logger(),
    socketFactory: session.socketFactory,
    ...client.security,
    brokers: client.bootstrap,
    clientId: client.clientId,
    connectionTimeout: CONNECTION_TIMEOUT_MS,
    requestTimeout: REQUEST_TIMEOUT_MS,
    enforceRequestTimeout: true,
    metadataMaxAge: METADATA_AGE_MS,
    allowAutoTopicCreation: false,
    isolationLevel: 0,
    retry,
  })
  return { session, cluster }
}

/** The first offset behind what is (`latest`), or still is (`earliest`), in each partition. */
export async function readOffsets(
  cluster: Cluster,
  topic: string,
  partitions: readonly number[],
  which: 'earliest' | 'latest',
): Promise<Map<number, number>> {
  const answers = await cluster.fetchTopicsOffset([{
    topic,
    partitions: partitions.map((partition) => ({ partition })),
    fromBeginning: which === 'earliest',
  }])
  const offsets = new Map<number, number>()
  for (const answer of answers) {
    for (const { partition, offset } of answer.partitions) offsets.set(partition, Number(offset))
  }
  return offsets
}

/** Partitions by the broker that leads them; those without a leader are left out. */
export function groupByLeader(
  cluster: Cluster,
  topic: string,
  partitions: readonly number[],
): Map<number, number[]> {
  const wanted = new Set(partitions)
  const led = new Map<number, number[]>()
  for (const { partitionId, leader } of cluster.findTopicPartitionMetadata(topic)) {
    if (leader < 0 || !wanted.has(partitionId)) continue
    const group = led.get(leader)
    if (group === undefined) led.set(leader, [partitionId])
    else group.push(partitionId)
  }
  return led
}

/** A batch that was appended; `isWhole` false: its records did not all come. */
export interface SeenBatch {
  readonly partition: number
  readonly batch: BatchHeader
}

export class HeadReader {
  readonly #client: KafkaClient
  readonly #topic: string
  readonly #partitions: readonly number[]
  /** First offset that was not looked at. */
  readonly #next = new Map<number, number>()
  /** End of the partition at the last look. */
  readonly #ends = new Map<number, number>()
  #open: { session: Session; cluster: Cluster } | undefined
  #turn = 0

  constructor(client: KafkaClient, topic: string, partitions: readonly number[]) {
    this.#client = client
    this.#topic = topic
    this.#partitions = partitions
  }

  /**
   * Batches appended since the last look: of partitions in `closely` all of them, a megabyte at a
   * time; of the others the first 256 KiB. Rejects with the client library's error; the next call
   * begins with a new connection.
   */
  async look(closely: ReadonlySet<number>): Promise<SeenBatch[]> {
    try {
      const cluster = await this.#connect()
      const groups = groupByLeader(cluster, this.#topic, this.#partitions)
      const fresh = [...groups.values()].flat().filter((one) => !this.#next.has(one))
      if (fresh.length > 0) {
        const ends = await readOffsets(cluster, this.#topic, fresh, 'latest')
        for (const [partition, end] of ends) this.#next.set(partition, end)
      }
      const looks = [...groups].map(([leader, led]) => this.#lookAt(cluster, leader, led, closely))
      return (await Promise.all(looks)).flat()
    } catch (error) {
      this.close()
      throw error
    }
  }

  close(): void {
    this.#open?.session.abort()
    this.#open = undefined
  }

  async #connect(): Promise<Cluster> {
    if (this.#open !== undefined) return this.#open.cluster
    const open = newCluster(this.#client)
    this.#open = open
    await open.cluster.connect()
    await open.cluster.addTargetTopic(this.#topic)
    await open.cluster.refreshMetadata()
    return open.cluster
  }

  async #lookAt(
    cluster: Cluster,
    leader: number,
    led: readonly number[],
    closely: ReadonlySet<number>,
  ): Promise<SeenBatch[]> {
    const broker = await cluster.findBroker({ nodeId: String(leader) })
    const turn = this.#turn++
    const positions = led.map((_, i) => {
      const partition = led[(i + turn) % led.length]
      return {
        partition,
        offset: this.#from(partition, closely.has(partition)),
        bytesMax: closely.has(partition) ? STUDY_BYTES : GLANCE_BYTES,
      }
    })
    const answer = await fetchPartitions(broker, {
      topic: this.#topic,
      positions,
      waitMs: 0,
      bytesMax: REQUEST_BYTES_MAX,
    })
    const seen: SeenBatch[] = []
    for (const fetched of answer) {
      const { partition, errorCode, end } = fetched
      if (errorCode === OFFSET_OUT_OF_RANGE) this.#next.delete(partition)
      else if (errorCode !== 0) throw errorOf(errorCode)
      else this.#scan(fetched, seen)
      if (errorCode === 0) this.#ends.set(partition, end)
    }
    return seen
  }

  /** What did not fit into the last look is left out, but for a partition that is read closely. */
  #from(partition: number, isClose: boolean): number {
    const next = this.#next.get(partition) ?? 0
    const from = isClose ? next : Math.max(next, this.#ends.get(partition) ?? 0)
    this.#next.set(partition, from)
    return from
  }

  #scan(fetched: FetchedPartition, seen: SeenBatch[]): void {
    const { partition, records, end } = fetched
    let next = this.#next.get(partition) ?? 0
    try {
      for (const batch of batchesOf(records)) {
        if (batch.lastOffset < next) continue
        seen.push({ partition, batch })
        if (!batch.isWhole) break
        next = batch.lastOffset + 1
      }
    } catch (error) {
      if (!(error instanceof UnreadableBatch)) throw error
      next = end
    }
    this.#next.set(partition, next)
  }
}
