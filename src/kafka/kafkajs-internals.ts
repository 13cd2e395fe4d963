/**
 * The parts of kafkajs that are not public, typed as far as they are used, and the repairs made to
 * them once at load. kafkajs is frozen at 2.2.4 and pinned, so its internals do not move.
 */
import BrokerModule from 'kafkajs/src/broker/index.js'
import ClusterModule from 'kafkajs/src/cluster/index.js'
import ConnectionModule from 'kafkajs/src/network/connection.js'
import RequestQueueModule from 'kafkajs/src/network/requestQueue/index.js'
import metadataV5 from 'kafkajs/src/protocol/requests/metadata/v5/response.js'
import metadataV6 from 'kafkajs/src/protocol/requests/metadata/v6/response.js'
import type { ISocketFactory, KafkaConfig, Logger } from 'kafkajs'
import type { Socket } from 'node:net'

/** A connected broker: picks the version of a request that both sides speak, and sends it. */
export interface FetchBroker {
  lookupRequest(apiKey: number, requests: unknown): unknown
  readonly connectionPool: {
    send(protocol: {
      readonly request: unknown
      readonly response: {
        decode(bytes: Uint8Array): Promise<unknown>
        parse(decoded: unknown): Promise<unknown>
      }
      readonly requestTimeout: number
    }): Promise<unknown>
  }
}

export interface TopicOffsets {
  readonly topic: string
  readonly partitions: readonly { readonly partition: number; readonly offset: string }[]
}

/** kafkajs' own view of a cluster: connections, metadata, leaders, offsets. */
export interface Cluster {
  connect(): Promise<void>
  disconnect(): Promise<void>
  addTargetTopic(topic: string): Promise<void>
  refreshMetadata(): Promise<void>
  findTopicPartitionMetadata(topic: string): readonly {
    readonly partitionId: number
    readonly leader: number
  }[]
  findBroker(node: { nodeId: string }): Promise<FetchBroker>
  fetchTopicsOffset(
    topics: {
      topic: string
      partitions: { partition: number }[]
      fromBeginning?: boolean
      fromTimestamp?: number
    }[],
  ): Promise<TopicOffsets[]>
}

export interface ClusterOptions extends Pick<KafkaConfig, 'ssl' | 'sasl'> {
  readonly logger: Logger
  readonly socketFactory: ISocketFactory
  readonly brokers: () => Promise<string[]>
  readonly clientId: string
  readonly connectionTimeout: number
  readonly requestTimeout: number
  readonly enforceRequestTimeout: boolean
  readonly metadataMaxAge: number
  readonly allowAutoTopicCreation: boolean
  readonly isolationLevel: number
  readonly retry: { retries: number; initialRetryTime: number; maxRetryTime: number }
}

export const ClusterClass = ClusterModule as unknown as new (options: ClusterOptions) => Cluster

interface RequestQueue {
  pending: unknown[]
  throttledUntil: number
  scheduleCheckPendingRequests(): void
  maybeThrottle(ms: number | null): void
}

interface Broker {
  readonly connectionPool: { readonly socketFactory: ISocketFactory }
  initProducerId(request: unknown): Promise<{ readonly producerId: string | number }>
}

/** What kafkajs learns and keeps to itself. */
export interface SessionListener {
  /** The cluster gave a producer its identity; nothing was sent under it yet. */
  producerId(id: number): void
  /** The broker asks to send nothing for so long: a quota is used up. */
  throttled(ms: number): void
}

/** A session's socket factory is the one thing that every part of it holds. */
const listeners = new WeakMap<ISocketFactory, SessionListener>()
const factoryOf = new WeakMap<RequestQueue, ISocketFactory>()

export function listenTo(socketFactory: ISocketFactory, listener: SessionListener): void {
  listeners.set(socketFactory, listener)
}

interface Connection {
  socket?: Socket
  readonly socketFactory: ISocketFactory
  readonly requestQueue: RequestQueue
  chunks: Uint8Array[]
  bytesBuffered: number
  bytesNeeded: number
  isConnected(): boolean
  connect(): Promise<boolean>
}

interface MetadataResponse {
  readonly topicMetadata: readonly {
    readonly topicErrorCode: number
    readonly partitionMetadata: { readonly partitionErrorCode: number }[]
  }[]
}

interface ResponseModule {
  parse(data: MetadataResponse): Promise<MetadataResponse>
}

const LEADER_NOT_AVAILABLE = 5
const REPLICA_NOT_AVAILABLE = 9

/**
 * As shipped, every connection re-arms a timer of about 1 ms for ever, which costs some per cent of
 * a core while idle. The timer is only needed while requests wait or the broker throttles.
 */
function quietIdleTimer(): void {
  const prototype = (RequestQueueModule as unknown as { prototype: RequestQueue }).prototype
  const schedule = prototype.scheduleCheckPendingRequests
  prototype.scheduleCheckPendingRequests = function (this: RequestQueue): void {
    if (this.pending.length === 0 && this.throttledUntil <= Date.now()) return
    schedule.call(this)
  }
}

/**
 * A connection object is used again after its socket died. As shipped it keeps the half response of
 * the dead socket, so the first answer on the new one is misread, and a late event of the dead
 * socket ends the new one.
 */
function cleanReconnect(): void {
  const prototype = (ConnectionModule as unknown as { prototype: Connection }).prototype
  const connect = prototype.connect
  prototype.connect = function (this: Connection): Promise<boolean> {
    factoryOf.set(this.requestQueue, this.socketFactory)
    if (!this.isConnected()) {
      this.chunks = []
      this.bytesBuffered = 0
      this.bytesNeeded = 4
      const dead = this.socket
      if (dead !== undefined) {
        dead.removeAllListeners()
        dead.on('error', ignore)
        dead.destroy()
      }
    }
    return connect.call(this)
  }
}

function ignore(): void {}

/**
 * As shipped, one partition without a leader makes the whole topic's metadata unreadable, and so
 * stops every other partition. Such a partition is left in, with leader -1.
 */
function tolerateLeaderless(module: ResponseModule): void {
  const parse = module.parse
  module.parse = async (data: MetadataResponse) => {
    const tolerated = data.topicMetadata.map((topic) => ({
      ...topic,
      partitionMetadata: topic.partitionMetadata.map((partition) =>
        partition.partitionErrorCode === LEADER_NOT_AVAILABLE ||
          partition.partitionErrorCode === REPLICA_NOT_AVAILABLE
          ? { ...partition, partitionErrorCode: 0 }
          : partition
      ),
    }))
    return await parse({ ...data, topicMetadata: tolerated })
  }
}

function tellThrottling(): void {
  const prototype = (RequestQueueModule as unknown as { prototype: RequestQueue }).prototype
  const throttle = prototype.maybeThrottle
  prototype.maybeThrottle = function (this: RequestQueue, ms: number | null): void {
    throttle.call(this, ms)
    const socketFactory = factoryOf.get(this)
    if (socketFactory === undefined || ms === null || !(ms > 0)) return
    listeners.get(socketFactory)?.throttled(ms)
  }
}

function tellProducerIds(): void {
  const prototype = (BrokerModule as unknown as { prototype: Broker }).prototype
  const init = prototype.initProducerId
  prototype.initProducerId = async function (this: Broker, request: unknown) {
    const identity = await init.call(this, request)
    listeners.get(this.connectionPool.socketFactory)?.producerId(Number(identity.producerId))
    return identity
  }
}

let repaired = false

/** Applies the repairs; further calls do nothing. */
export function repairKafkajs(): void {
  if (repaired) return
  repaired = true
  quietIdleTimer()
  cleanReconnect()
  tellThrottling()
  tellProducerIds()
  tolerateLeaderless(metadataV5 as unknown as ResponseModule)
  tolerateLeaderless(metadataV6 as unknown as ResponseModule)
}
