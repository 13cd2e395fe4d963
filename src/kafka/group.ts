/**
 * The lanes with one leader and the producer identity that serves them: one awaited send at a time,
 * and the life of the identity from opening to spent.
 */
import type { Environment, Timer } from '../core/environment.ts'
import type { Lane } from './lane.ts'
import type { PartitionBatch, Wire, WireProducer } from './wire.ts'

export const RECORDS_PER_PARTITION_MAX = 500
/** Raw bytes of one request: what memory and a slow link must carry at once. */
const BYTES_PER_REQUEST_MAX = 4_000_000
/**
 * kafkajs wraps its sequence numbers at 2^31 wrongly, so an identity is replaced before, between
 * two sends.
 */
const RECORDS_PER_IDENTITY_MAX = 2_000_000_000
const OPEN_TIMEOUT_MS = 20_000
/** A send without an answer for so long: whoever asks is not to be told that all is well. */
const STALLED_AFTER_MS = 10_000
const BACKOFF_MIN_MS = 100
const BACKOFF_MAX_MS = 5_000

/** What a group tells the publisher. */
export interface GroupOwner {
  /** Symbol bytes by stream. */
  readonly keys: readonly Uint8Array[]
  readonly deliveryTimeoutMs: number
  /** Raw bytes of one partition in a request. */
  readonly batchBytesMax: number
  /** The piece in flight of `lane` was stored; it is still there to look at. */
  stored(lane: Lane): void
  /** The fate of the piece in flight of each is unknown; it is still there to look at. */
  lost(lanes: readonly Lane[], error: Error): void
  /** A send ended or an identity opened: lanes may move, streams may be writable again. */
  settled(group: Group): void
  /** An identity could not be opened. */
  unavailable(error: Error): void
}

/** 100 ms, doubling to 5 s, in the upper half at random. */
export function backoffMs(attempt: number, environment: Environment): number {
  const full = Math.min(BACKOFF_MAX_MS, BACKOFF_MIN_MS * 2 ** Math.min(attempt, 10))
  return full * (0.5 + environment.random() / 2)
}

export class Group {
  readonly leader: number
  readonly lanes = new Set<Lane>()
  /** Sends acknowledged whole, over all identities. */
  acknowledged = 0
  readonly #environment: Environment
  readonly #wire: Wire
  readonly #owner: GroupOwner
  #state: 'closed' | 'waiting' | 'opening' | 'ready' | 'sending' = 'waiting'
  #producer: WireProducer | undefined
  #records = 0
  /** Failures in a row. */
  #failures = 0
  #timer: Timer | undefined
  /** Tells the answer of the present call from a late one. */
  #call = 0
  #sending: Lane[] = []
  #sendingSinceMs = 0
  #turn = 0
  #pumpQueued = false

  constructor(leader: number, environment: Environment, wire: Wire, owner: GroupOwner) {
    this.leader = leader
    this.#environment = environment
    this.#wire = wire
    this.#owner = owner
  }

  get isReady(): boolean {
    return this.#state === 'ready' || this.#state === 'sending'
  }

  get isSending(): boolean {
    return this.#state === 'sending'
  }

  /** The leader takes writes, as far as one can tell. */
  get isHealthy(): boolean {
    if (this.#state !== 'sending') return this.#state === 'ready'
    return this.#environment.monotonicMs() - this.#sendingSinceMs < STALLED_AFTER_MS
  }

  /** Opens the identity. Call once. */
  start(): void {
    this.#open()
  }

  /** Sends what waits, after the caller's stack has unwound, so that one frame is one batch. */
  pump(): void {
    if (this.#pumpQueued || this.#state !== 'ready') return
    this.#pumpQueued = true
    queueMicrotask(() => {
      this.#pumpQueued = false
      this.#send()
    })
  }

  /** Ends it without waiting for what is in flight. */
  close(): Promise<void> {
    this.#state = 'closed'
    this.#call += 1
    this.#timer?.cancel()
    return this.#retire()
  }

  #retire(): Promise<void> {
    const producer = this.#producer
    this.#producer = undefined
    this.#records = 0
    if (producer === undefined) return Promise.resolve()
    return producer.close().catch(ignore)
  }

  #open(): void {
    this.#state = 'opening'
    const call = ++this.#call
    this.#timer?.cancel()
    this.#timer = this.#environment.setTimer(OPEN_TIMEOUT_MS, () => {
      this.#openFailed(call, new Error(`no producer identity within ${OPEN_TIMEOUT_MS} ms`))
    })
    this.#wire.open(this.leader).then(
      (producer) => {
        if (call !== this.#call) return void producer.close().catch(ignore)
        this.#timer?.cancel()
        this.#producer = producer
        this.#state = 'ready'
        this.#owner.settled(this)
        this.pump()
      },
      (error: Error) => this.#openFailed(call, error),
    )
  }

  #openFailed(call: number, error: Error): void {
    if (call !== this.#call) return
    this.#wait()
    this.#owner.unavailable(error)
  }

  /** Backs off, then opens a new identity. */
  #wait(): void {
    this.#state = 'waiting'
    this.#call += 1
    this.#timer?.cancel()
    this.#timer = this.#environment.setTimer(
      backoffMs(this.#failures, this.#environment),
      () => this.#open(),
    )
    this.#failures += 1
  }

  #send(): void {
    const producer = this.#producer
    if (this.#state !== 'ready' || producer === undefined) return
    const batches = this.#takeBatches()
    if (batches.length === 0) return
    this.#state = 'sending'
    this.#sendingSinceMs = this.#environment.monotonicMs()
    const call = ++this.#call
    this.#timer = this.#environment.setTimer(this.#owner.deliveryTimeoutMs, () => {
      const waited = `no acknowledgement within ${this.#owner.deliveryTimeoutMs} ms`
      this.#spent(call, this.#sending, new Error(waited))
    })
    producer.send(batches).then(
      (partitions) => this.#answered(call, partitions),
      (error: Error) => this.#spent(call, this.#sending, error),
    )
  }

  /** Takes from each lane in turn, starting behind where the last request had to stop. */
  #takeBatches(): PartitionBatch[] {
    const batches: PartitionBatch[] = []
    const lanes = [...this.lanes]
    const count = lanes.length
    let bytes = 0
    this.#sending = []
    for (let i = 0; i < count && bytes < BYTES_PER_REQUEST_MAX; i++) {
      const lane = lanes[(this.#turn + i) % count]
      if (lane.queuedRecords === 0 || lane.nextLeader !== this.leader) continue
      const piece = lane.take(
        RECORDS_PER_PARTITION_MAX,
        this.#owner.batchBytesMax,
        this.#owner.keys,
      )
      bytes += piece.bytes
      this.#records += piece.records.length
      batches.push({ partition: lane.partition, records: piece.records })
      this.#sending.push(lane)
      if (bytes >= BYTES_PER_REQUEST_MAX) this.#turn = (this.#turn + i + 1) % count
    }
    return batches
  }

  #answered(call: number, partitions: readonly number[]): void {
    if (call !== this.#call) return
    this.#timer?.cancel()
    const missing: Lane[] = []
    for (const lane of this.#sending) {
      if (!partitions.includes(lane.partition)) {
        missing.push(lane)
        continue
      }
      this.#owner.stored(lane)
      lane.acknowledge()
    }
    if (missing.length > 0) {
      const names = missing.map((lane) => lane.partition).join(', ')
      this.#spent(call, missing, new Error(`no acknowledgement for partition ${names}`))
      return
    }
    this.#call += 1
    this.#sending = []
    this.acknowledged += 1
    this.#failures = 0
    this.#state = 'ready'
    if (this.#records >= RECORDS_PER_IDENTITY_MAX) {
      void this.#retire()
      this.#open()
    }
    this.#owner.settled(this)
    this.pump()
  }

  /** Nothing is ever sent again under this identity, and nothing of `lanes` under another. */
  #spent(call: number, lanes: readonly Lane[], error: Error): void {
    if (call !== this.#call) return
    void this.#retire()
    this.#sending = []
    this.#wait()
    this.#owner.lost(lanes, error)
    for (const lane of lanes) lane.abandon()
    this.#owner.settled(this)
  }
}

function ignore(): void {}
