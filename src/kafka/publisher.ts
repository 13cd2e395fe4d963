/**
 * The Kafka sink: queues, bounds and conflation. Order is kept per stream, nothing is sent twice
 * under two identities, and memory is bounded whatever the cluster does.
 */
import { Buffer } from 'node:buffer'
import type { Environment, Timer } from '../core/environment.ts'
import { EXIT, ObfeedError } from '../core/errors.ts'
import type { PlannedSymbol } from '../core/instrument.ts'
import { KIND_INVALID, LATENCY_BUCKETS_S } from '../sinks/sink.ts'
import type { EventKind, Sink, SinkEvents, SinkStats } from '../sinks/sink.ts'
import { backoffMs, Group } from './group.ts'
import type { GroupOwner } from './group.ts'
import { Lane } from './lane.ts'
import type { Wire } from './wire.ts'

export interface PublisherOptions {
  readonly whenFull: 'conflate' | 'block' | 'exit'
  /** Bound on what waits, over all streams, with about 64 bytes more for each record. */
  readonly queueBytesMax: number
  /** `conflate`: a stream whose oldest waiting event is older starts anew. */
  readonly queueAgeMsMax: number
  readonly deliveryTimeoutMs: number
}

/** A connection to the cluster must come about this soon at start. */
const START_TIMEOUT_MS = 15_000
const LEADERS_TIMEOUT_MS = 15_000
const LEADERS_INTERVAL_MS = 180_000
/** A partition the cluster does not know for so long is gone. */
const MISSING_TIMEOUT_MS = 30_000
/** Columns of a queued record. */
const RECORD_OVERHEAD = 64
/** `block` and `exit` cannot stop a frame half way, but memory stays bounded. */
const HARD_LIMIT = 2
const LOW_WATER = 0.5

interface Flush {
  /** By lane: the first serial that is not waited for. */
  readonly targets: readonly number[]
  readonly lost: number
  readonly timer: Timer
  resolve(complete: boolean): void
}

export class Publisher implements Sink {
  readonly stats: SinkStats = {
    connected: false,
    queuedRecords: 0,
    queuedBytes: 0,
    sentRecords: 0,
    sentBytes: 0,
    droppedRecords: 0,
    errors: 0,
    retries: 0,
    latencyBuckets: new Array(LATENCY_BUCKETS_S.length + 1).fill(0),
    latencySumS: 0,
    latencyCount: 0,
  }
  readonly #options: PublisherOptions
  readonly #environment: Environment
  readonly #wire: Wire
  readonly #owner: GroupOwner
  #events: SinkEvents | undefined
  #keys: Uint8Array[] = []

  readonly #lanes: Lane[] = []
  readonly #lanesByPartition = new Map<number, Lane>()
  /** By stream. */
  #laneOf: Lane[] = []
  readonly #groups = new Map<number, Group>()

  /** Bytes and overhead of what waits or is in flight. */
  #cost = 0
  /** By stream: 1 from `dropped` to `writable`. */
  #blocked = new Uint8Array(0)
  /** By stream: acknowledged sends of its group when it was blocked. */
  #blockedAt = new Float64Array(0)
  #blockedCount = 0
  #lostRecords = 0
  #pressure = false
  #failed = false
  #closed = false
  #flushes: Flush[] = []

  #patrol: Timer | undefined
  #leadersTimer: Timer | undefined
  #leadersCall = 0
  #leadersBusy = false
  /** Something failed while the leaders were being read: what comes may be old already. */
  #leadersAgain = false
  #leadersFailures = 0
  /** While `start` waits. */
  #starting: { resolve(): void; reject(error: Error): void; lastError: Error } | undefined

  constructor(options: PublisherOptions, environment: Environment, wire: Wire) {
    this.#options = options
    this.#environment = environment
    this.#wire = wire
    this.#owner = {
      keys: this.#keys,
      deliveryTimeoutMs: options.deliveryTimeoutMs,
      stored: (lane) => this.#stored(lane),
      lost: (lanes, error) => this.#lost(lanes, error),
      settled: () => this.#settled(),
      unavailable: (error) => this.#unavailable(error),
    }
  }

  /**
   * Rejects with `E_UNAVAILABLE` when no broker answers within about 15 s, and with the wire's own
   * error when trying again cannot help.
   */
  start(streams: readonly PlannedSymbol[], events: SinkEvents): Promise<void> {
    this.#events = events
    this.#blocked = new Uint8Array(streams.length)
    this.#blockedAt = new Float64Array(streams.length)
    this.#laneOf = streams.map(({ partition }) => this.#laneFor(partition))
    for (const { symbol } of streams) this.#keys.push(Buffer.from(symbol))
    return new Promise((resolve, reject) => {
      const timer = this.#environment.setTimer(START_TIMEOUT_MS, () => {
        this.#starting?.reject(this.#notStarted(this.#starting.lastError))
      })
      const settle = () => {
        timer.cancel()
        this.#starting = undefined
      }
      this.#starting = {
        resolve: () => (settle(), resolve()),
        reject: (error) => (settle(), reject(error)),
        lastError: new Error('no answer'),
      }
      this.#readLeaders()
    })
  }

  push(
    stream: number,
    kind: EventKind,
    bytes: Uint8Array,
    start: number,
    end: number,
    timestampMs: number,
  ): boolean {
    const lane = this.#laneOf[stream]
    if (this.#closed || lane === undefined) return false
    if (this.#blocked[stream] === 1) {
      if (kind !== KIND_INVALID) return false
      // One is held for a blocked stream; a newer one says it all.
      this.#forget(stream, lane.drop(stream, false))
    }
    const cost = end - start + RECORD_OVERHEAD
    lane.push(stream, kind, bytes, start, end, timestampMs, this.#environment.monotonicMs())
    this.#cost += cost
    this.stats.queuedRecords += 1
    this.stats.queuedBytes += end - start
    if (this.#patrol === undefined) this.#startPatrol()
    if (this.#cost > this.#options.queueBytesMax) this.#overflow()
    this.#groups.get(lane.leader)?.pump()
    return kind === KIND_INVALID || this.#blocked[stream] === 0
  }

  flush(timeoutMs: number): Promise<boolean> {
    if (this.#closed) return Promise.resolve(false)
    return new Promise((resolve) => {
      const flush: Flush = {
        targets: this.#lanes.map((lane) => lane.nextSerial),
        lost: this.#lostRecords,
        timer: this.#environment.setTimer(timeoutMs, () => flush.resolve(false)),
        resolve: (complete) => {
          flush.timer.cancel()
          this.#flushes = this.#flushes.filter((other) => other !== flush)
          resolve(complete)
        },
      }
      this.#flushes.push(flush)
      this.#checkFlushes()
    })
  }

  async close(): Promise<void> {
    if (this.#closed) return
    this.#closed = true
    this.stats.connected = false
    this.#patrol?.cancel()
    this.#leadersTimer?.cancel()
    this.#leadersCall += 1
    for (const flush of [...this.#flushes]) flush.resolve(false)
    this.#starting?.reject(this.#notStarted(new Error('closed')))
    await Promise.all([...this.#groups.values()].map((group) => group.close()))
    await this.#wire.close()
  }

  #laneFor(partition: number): Lane {
    let lane = this.#lanesByPartition.get(partition)
    if (lane === undefined) {
      lane = new Lane(partition)
      this.#lanesByPartition.set(partition, lane)
      this.#lanes.push(lane)
    }
    return lane
  }

  #notStarted(lastError: Error): ObfeedError {
    if (lastError instanceof ObfeedError) return lastError
    return new ObfeedError(
      'E_UNAVAILABLE',
      `Kafka does not take writes (${lastError.message}); expected a leader and a producer ` +
        `identity for every partition within ${START_TIMEOUT_MS / 1000} s; check the brokers`,
      { scope: 'agent', exitCode: EXIT.unavailable, cause: lastError },
    )
  }

  // ---- what became of a send

  #stored(lane: Lane): void {
    const piece = lane.inFlight
    if (piece === undefined) return
    const stats = this.stats
    const nowMs = this.#environment.monotonicMs()
    const buckets = stats.latencyBuckets
    for (let i = 0; i < piece.records.length; i++) {
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
    this.#uncharge(lane)
  }

  /** What was in flight costs no queue any more. */
  #uncharge(lane: Lane): void {
    const piece = lane.inFlight
    if (piece === undefined) return
    this.#cost -= piece.bytes + piece.records.length * RECORD_OVERHEAD
  }

  #lost(lanes: readonly Lane[], error: Error): void {
    this.stats.errors += 1
    this.stats.retries += 1
    const inFlight = new Map<number, number>()
    for (const lane of lanes) {
      const piece = lane.inFlight
      if (piece === undefined) continue
      for (const stream of piece.streams) inFlight.set(stream, (inFlight.get(stream) ?? 0) + 1)
      this.stats.queuedRecords -= piece.records.length
      this.stats.queuedBytes -= piece.bytes
      this.stats.droppedRecords += piece.records.length
      this.#lostRecords += piece.records.length
      this.#uncharge(lane)
    }
    for (const [stream, events] of inFlight) this.#drop(stream, events)
    this.#judge(error)
    this.#readLeadersSoon()
  }

  #settled(): void {
    if (this.#closed) return
    this.#moveLanes()
    this.#updateConnected()
    this.#wakeStreams()
    this.#checkFlushes()
  }

  #unavailable(error: Error): void {
    this.stats.errors += 1
    this.stats.retries += 1
    if (this.#starting !== undefined) this.#starting.lastError = error
    this.#judge(error)
    this.#updateConnected()
    this.#readLeadersSoon()
  }

  /** An `ObfeedError` of the wire is final, but for a cluster that cannot be reached just now. */
  #judge(error: Error): void {
    if (!(error instanceof ObfeedError) || error.code === 'E_UNAVAILABLE') return
    if (this.#starting !== undefined) this.#starting.reject(error)
    else this.#fail(error)
  }

  #fail(error: ObfeedError): void {
    if (this.#failed) return
    this.#failed = true
    this.#events?.failed(error)
  }

  // ---- bounds

  /** Drops what waits of `stream` and, unless it is between already, says so. */
  #drop(stream: number, eventsInFlight: number): void {
    const lane = this.#laneOf[stream]
    const events = lane.drop(stream, true)
    this.#forget(stream, events)
    if (this.#blocked[stream] === 1) return
    this.#blocked[stream] = 1
    this.#blockedCount += 1
    this.#blockedAt[stream] = this.#groups.get(lane.leader)?.acknowledged ?? 0
    if (this.#patrol === undefined) this.#startPatrol()
    this.#events?.dropped(stream, events + eventsInFlight)
  }

  /** Takes records that were dropped from a lane out of the books. */
  #forget(stream: number, events: number): void {
    if (events === 0) return
    const lane = this.#laneOf[stream]
    this.stats.droppedRecords += events
    this.stats.queuedRecords -= events
    this.#lostRecords += events
    this.stats.queuedBytes -= lane.droppedBytes
    this.#cost -= lane.droppedBytes + events * RECORD_OVERHEAD
  }

  #overflow(): void {
    const { whenFull, queueBytesMax } = this.#options
    if (whenFull === 'conflate') {
      this.#conflateTo(queueBytesMax)
      return
    }
    if (whenFull === 'block' && !this.#pressure) {
      this.#pressure = true
      this.#events?.pressure(true)
    }
    if (whenFull === 'exit') {
      this.#fail(
        new ObfeedError(
          'E_OVERFLOW',
          `${this.stats.queuedRecords} events wait for Kafka; expected at most ${queueBytesMax} ` +
            'bytes of them; check the cluster and the link to it, or use --when-full conflate',
          { scope: 'agent', exitCode: EXIT.temporary },
        ),
      )
    }
    if (this.#cost > queueBytesMax * HARD_LIMIT) this.#conflateTo(queueBytesMax * HARD_LIMIT)
  }

  /** Drops the largest backlogs until the rest fits; what is in flight cannot be dropped. */
  #conflateTo(limit: number): void {
    const streams = this.#laneOf.length
    const waiting = new Float64Array(streams)
    for (const lane of this.#lanes) lane.addWaitingBytes(waiting)
    while (this.#cost > limit) {
      let largest = 0
      for (let stream = 1; stream < streams; stream++) {
        if (waiting[stream] > waiting[largest]) largest = stream
      }
      if (!(waiting[largest] > 0)) return
      waiting[largest] = 0
      this.#drop(largest, 0)
    }
  }

  /** Runs only while something waits or is blocked. */
  #startPatrol(): void {
    const periodMs = Math.max(10, Math.min(250, this.#options.queueAgeMsMax / 4))
    this.#patrol = this.#environment.setTimer(periodMs, () => {
      this.#patrol = undefined
      if (this.#closed) return
      this.#checkAges()
      this.#wakeStreams()
      this.#checkFlushes()
      if (this.#patrol === undefined && (this.stats.queuedRecords > 0 || this.#blockedCount > 0)) {
        this.#startPatrol()
      }
    })
  }

  #checkAges(): void {
    if (this.#options.whenFull !== 'conflate') return
    const oldestMs = this.#environment.monotonicMs() - this.#options.queueAgeMsMax
    for (const lane of this.#lanes) {
      for (;;) {
        const stream = lane.streamOlderThan(oldestMs)
        if (stream < 0) break
        this.#drop(stream, 0)
      }
    }
  }

  /** Tells blocked streams to begin anew where sends succeed again and there is room. */
  #wakeStreams(): void {
    const lowWater = this.#options.queueBytesMax * LOW_WATER
    if (this.#pressure && this.#cost <= lowWater) {
      this.#pressure = false
      this.#events?.pressure(false)
    }
    if (this.#blockedCount === 0) return
    for (let stream = 0; stream < this.#blocked.length; stream++) {
      if (this.#cost > lowWater) return
      if (this.#blocked[stream] === 0) continue
      const group = this.#groups.get(this.#laneOf[stream].leader)
      if (group === undefined || !group.isReady) continue
      if (group.isSending && group.acknowledged === this.#blockedAt[stream]) continue
      this.#blocked[stream] = 0
      this.#blockedCount -= 1
      this.#events?.writable(stream)
    }
  }

  #checkFlushes(): void {
    for (const flush of [...this.#flushes]) {
      if (this.#lostRecords > flush.lost) {
        flush.resolve(false)
        continue
      }
      const { targets } = flush
      if (this.#lanes.every((lane, i) => lane.oldestSerial >= targets[i])) flush.resolve(true)
    }
  }

  // ---- leaders

  #readLeadersSoon(): void {
    if (this.#closed) return
    if (this.#leadersBusy) {
      this.#leadersAgain = true
      return
    }
    this.#leadersTimer?.cancel()
    this.#leadersTimer = this.#environment.setTimer(
      backoffMs(this.#leadersFailures, this.#environment),
      () => this.#readLeaders(),
    )
  }

  #readLeaders(): void {
    if (this.#leadersBusy || this.#closed) return
    this.#leadersBusy = true
    this.#leadersAgain = false
    const call = ++this.#leadersCall
    this.#leadersTimer?.cancel()
    this.#leadersTimer = this.#environment.setTimer(
      LEADERS_TIMEOUT_MS,
      () => this.#leadersFailed(call, new Error(`no metadata within ${LEADERS_TIMEOUT_MS} ms`)),
    )
    this.#wire.leaders().then(
      (leaders) => this.#leadersRead(call, leaders),
      (error: Error) => this.#leadersFailed(call, error),
    )
  }

  #leadersFailed(call: number, error: Error): void {
    if (call !== this.#leadersCall) return
    this.#leadersCall += 1
    this.#leadersBusy = false
    this.#leadersFailures += 1
    this.stats.errors += 1
    if (this.#starting !== undefined) this.#starting.lastError = error
    this.#judge(error)
    this.#readLeadersSoon()
  }

  #leadersRead(call: number, leaders: ReadonlyMap<number, number>): void {
    if (call !== this.#leadersCall) return
    this.#leadersCall += 1
    this.#leadersBusy = false
    const nowMs = this.#environment.monotonicMs()
    let incomplete = false
    for (const lane of this.#lanes) {
      const leader = leaders.get(lane.partition)
      if (leader !== undefined) lane.missingSinceMs = -1
      else if (lane.missingSinceMs < 0) lane.missingSinceMs = nowMs
      else if (nowMs - lane.missingSinceMs >= MISSING_TIMEOUT_MS) this.#vanished(lane)
      lane.nextLeader = leader ?? -1
      if (lane.nextLeader < 0) incomplete = true
    }
    this.#settled()
    if (incomplete) {
      this.#leadersFailures += 1
      if (this.#starting !== undefined) {
        this.#starting.lastError = new Error('a partition has no leader')
      }
      this.#readLeadersSoon()
      return
    }
    this.#leadersFailures = 0
    if (this.#leadersAgain) {
      this.#readLeadersSoon()
      return
    }
    this.#leadersTimer?.cancel()
    this.#leadersTimer = this.#environment.setTimer(
      LEADERS_INTERVAL_MS * (0.8 + 0.4 * this.#environment.random()),
      () => this.#readLeaders(),
    )
  }

  #vanished(lane: Lane): void {
    this.#fail(
      new ObfeedError(
        'E_SINK',
        `partition ${lane.partition} is not in the topic any more; expected every partition of ` +
          'the map; was the topic deleted or made anew with fewer? Restart obfeed to create it',
        { scope: 'agent', exitCode: EXIT.config },
      ),
    )
  }

  /** Regroups the lanes of which nothing is in flight; a group without lanes ends. */
  #moveLanes(): void {
    for (const lane of this.#lanes) {
      if (lane.leader === lane.nextLeader || lane.inFlight !== undefined) continue
      this.#groups.get(lane.leader)?.lanes.delete(lane)
      lane.leader = lane.nextLeader
      if (lane.leader < 0) continue
      let group = this.#groups.get(lane.leader)
      if (group === undefined) {
        group = new Group(lane.leader, this.#environment, this.#wire, this.#owner)
        this.#groups.set(lane.leader, group)
        group.start()
      }
      group.lanes.add(lane)
      group.pump()
    }
    for (const [leader, group] of this.#groups) {
      if (group.lanes.size > 0) continue
      this.#groups.delete(leader)
      void group.close()
    }
  }

  #updateConnected(): void {
    const connected = !this.#closed &&
      this.#lanes.every((lane) =>
        lane.nextLeader >= 0 && this.#groups.get(lane.leader)?.isReady === true
      )
    this.stats.connected = connected
    if (connected) this.#starting?.resolve()
  }
}
