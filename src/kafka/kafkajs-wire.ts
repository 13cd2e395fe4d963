/** The publisher's wire on the public API of kafkajs. */
import { Buffer } from 'node:buffer'
import kafkajs from 'kafkajs'
import type { Admin, Message, PartitionerArgs, PartitionMetadata, Producer } from 'kafkajs'
import { KIND_DELTA } from '../sinks/sink.ts'
import { ACK_TIMEOUT_MS, BRIEF, PATIENT } from './client.ts'
import type { KafkaClient, Session } from './client.ts'
import { bestCodec, hasZstd } from './codecs.ts'
import type { Codec } from './codecs.ts'
import { classifyFailure, protocolError } from './failure.ts'
import { PRODUCER_HEADER } from './record-batch.ts'
import type { PartitionBatch, Wire, WireProducer } from './wire.ts'

/** A closing connection is given this long before its sockets are destroyed. */
const CLOSE_TIMEOUT_MS = 900
/** An address that swallows packets would take longer. */
const LEADERS_TIMEOUT_MS = 12_000
/** Below these means per partition compression costs more than it saves. */
const COMPRESS_BYTES_MIN = 1_024
const COMPRESS_RECORDS_MIN = 5
/** A batch of so many bytes is worth it whatever its records. */
const COMPRESS_BYTES_ALWAYS = 8_192

const TYPE_OF: Readonly<Record<Codec, number>> = {
  none: kafkajs.CompressionTypes.None,
  gzip: kafkajs.CompressionTypes.GZIP,
  snappy: kafkajs.CompressionTypes.Snappy,
  lz4: kafkajs.CompressionTypes.LZ4,
  zstd: kafkajs.CompressionTypes.ZSTD,
}

/** As the protocol names it: kafkajs reads the metadata again and tries once more. */
const NO_LEADER = {
  name: 'KafkaJSProtocolError',
  type: 'LEADER_NOT_AVAILABLE',
  code: 5,
  retriable: true,
  message: 'There is no leader for this topic-partition as we are in the middle of an election',
}

export interface WireOptions {
  /** `auto`: the best this runtime can write. Absent: none. */
  readonly compression?: Codec | 'auto'
  /** `host/pid/version`, said in a header of every record that is no delta. */
  readonly producer?: string
}

/** How the records of one topic are sent. */
interface Way {
  readonly topic: string
  readonly codec: Codec
  readonly headers: { readonly [PRODUCER_HEADER]: Buffer } | undefined
}

export class KafkajsWire implements Wire {
  readonly #client: KafkaClient
  readonly #topic: string
  readonly #way: Way
  #admin: { session: Session; admin: Admin } | undefined
  readonly #open = new Set<WireProducer>()

  constructor(client: KafkaClient, topic: string, options: WireOptions = {}) {
    this.#client = client
    this.#topic = topic
    const { compression = 'none', producer } = options
    this.#way = {
      topic,
      codec: codecFor(compression),
      headers: producer === undefined ? undefined : { [PRODUCER_HEADER]: Buffer.from(producer) },
    }
  }

  async leaders(): Promise<ReadonlyMap<number, number>> {
    const current = this.#admin ?? this.#newAdmin()
    this.#admin = current
    const deadline = setTimeout(() => current.session.abort(), LEADERS_TIMEOUT_MS)
    try {
      await current.admin.connect()
      const { topics } = await current.admin.fetchTopicMetadata({ topics: [this.#topic] })
      const leaders = new Map<number, number>()
      for (const { name, partitions } of topics) {
        if (name !== this.#topic) continue
        for (const { partitionId, leader } of partitions) leaders.set(partitionId, leader)
      }
      return leaders
    } catch (error) {
      // The next call starts from the addresses it was given.
      if (this.#admin === current) this.#admin = undefined
      current.session.abort()
      if (protocolError(error) === 'UNKNOWN_TOPIC_OR_PARTITION') return new Map()
      throw classifyFailure(this.#client, this.#topic, error)
    } finally {
      clearTimeout(deadline)
    }
  }

  #newAdmin(): { session: Session; admin: Admin } {
    const session = this.#client.session(BRIEF)
    return { session, admin: session.kafka.admin() }
  }

  async open(_leader: number): Promise<WireProducer> {
    const session = this.#client.session(PATIENT)
    const guard = new LeaderGuard()
    const producer = session.kafka.producer({
      idempotent: true,
      maxInFlightRequests: 1,
      allowAutoTopicCreation: false,
      createPartitioner: () => (args) => guard.partition(args),
    })
    try {
      await producer.connect()
      // Sends nothing, but reads the topic's metadata, which the first batch would wait for.
      await producer.send({ topic: this.#topic, messages: [] })
    } catch (error) {
      session.abort()
      throw classifyFailure(this.#client, this.#topic, error)
    }
    const opened = new KafkajsProducer(this.#client, this.#way, session, producer, guard, () => {
      this.#open.delete(opened)
    })
    this.#open.add(opened)
    return opened
  }

  async close(): Promise<void> {
    const closing = [...this.#open].map((producer) => producer.close())
    const admin = this.#admin
    this.#admin = undefined
    if (admin !== undefined) closing.push(endSession(admin.session, admin.admin))
    await Promise.all(closing)
  }
}

/**
 * kafkajs asks its partitioner for every message at every attempt, with the metadata it is about to
 * use. That is the place to hold it to one leader: with two, an attempt that fails at one of them
 * is repeated while the other's request is still under way, and stored a second time under new
 * sequence numbers. Then the send has to fail, and its identity with it.
 */
class LeaderGuard {
  #first: Message | undefined
  #leader = -1
  #metadata: readonly PartitionMetadata[] | undefined
  readonly #leaderOf = new Map<number, number>()

  begin(first: Message | undefined): void {
    this.#first = first
  }

  partition({ partitionMetadata, message }: PartitionerArgs): number {
    if (partitionMetadata !== this.#metadata) this.#read(partitionMetadata)
    const partition = message.partition as number
    const leader = this.#leaderOf.get(partition)
    if (leader === undefined) return partition // left out by kafkajs, and missing in the answer
    if (leader < 0) throw new kafkajs.KafkaJSProtocolError(NO_LEADER)
    if (message === this.#first) this.#leader = leader
    else if (leader !== this.#leader) {
      throw new kafkajs.KafkaJSNonRetriableError(
        `partitions of one send moved apart, to brokers ${this.#leader} and ${leader}`,
      )
    }
    return partition
  }

  #read(metadata: readonly PartitionMetadata[]): void {
    this.#metadata = metadata
    this.#leaderOf.clear()
    for (const { partitionId, leader } of metadata) this.#leaderOf.set(partitionId, leader)
  }
}

class KafkajsProducer implements WireProducer {
  readonly #client: KafkaClient
  readonly #way: Way
  readonly #session: Session
  readonly #producer: Producer
  readonly #guard: LeaderGuard
  readonly #closed: () => void
  #timestampMs = -1
  #timestampText = ''

  constructor(
    client: KafkaClient,
    way: Way,
    session: Session,
    producer: Producer,
    guard: LeaderGuard,
    closed: () => void,
  ) {
    this.#client = client
    this.#way = way
    this.#session = session
    this.#producer = producer
    this.#guard = guard
    this.#closed = closed
  }

  async send(batches: readonly PartitionBatch[]): Promise<readonly number[]> {
    const { topic, codec, headers } = this.#way
    const messages: Message[] = []
    let bytes = 0
    for (const { partition, records } of batches) {
      for (const record of records) {
        bytes += record.value.length
        const message: Message = {
          partition,
          key: asBuffer(record.key),
          value: asBuffer(record.value),
          timestamp: this.#textOf(record.timestampMs),
        }
        if (headers !== undefined && record.kind !== KIND_DELTA) message.headers = headers
        messages.push(message)
      }
    }
    this.#guard.begin(messages[0])
    try {
      const stored = await this.#producer.send({
        topic,
        messages,
        acks: -1,
        timeout: ACK_TIMEOUT_MS,
        compression: worthCompressing(messages.length, bytes, batches.length)
          ? TYPE_OF[codec]
          : kafkajs.CompressionTypes.None,
      })
      const acknowledged: number[] = []
      for (const { topicName, partition, errorCode } of stored) {
        if (topicName === topic && errorCode === 0) acknowledged.push(partition)
      }
      return acknowledged
    } catch (error) {
      throw classifyFailure(this.#client, topic, error)
    }
  }

  async close(): Promise<void> {
    this.#closed()
    await endSession(this.#session, this.#producer)
  }

  /** Neighbouring records mostly share the millisecond. */
  #textOf(timestampMs: number): string {
    if (timestampMs !== this.#timestampMs) {
      this.#timestampMs = timestampMs
      this.#timestampText = String(timestampMs)
    }
    return this.#timestampText
  }
}

/** Every runtime that obfeed is built for has zstd; others fall back. */
function codecFor(compression: Codec | 'auto'): Codec {
  if (compression === 'auto') return bestCodec
  return compression === 'zstd' && !hasZstd ? bestCodec : compression
}

function worthCompressing(records: number, bytes: number, partitions: number): boolean {
  const bytesEach = bytes / partitions
  return bytesEach >= COMPRESS_BYTES_ALWAYS ||
    (bytesEach >= COMPRESS_BYTES_MIN && records / partitions >= COMPRESS_RECORDS_MIN)
}

function asBuffer(bytes: Uint8Array): Buffer {
  return Buffer.isBuffer(bytes)
    ? bytes
    : Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength)
}

/** Disconnects politely if that is quick, then destroys what is left. Never rejects. */
export async function endSession(
  session: Session,
  user: { disconnect(): Promise<void> },
): Promise<void> {
  let timer: ReturnType<typeof setTimeout> | undefined
  const deadline = new Promise<void>((resolve) => {
    timer = setTimeout(resolve, CLOSE_TIMEOUT_MS)
  })
  try {
    await Promise.race([user.disconnect(), deadline])
  } catch {
    // It is going away in any case.
  }
  clearTimeout(timer)
  session.abort()
}
