/**
 * The Kafka sink: lanes, their leaders and what becomes of a send. Order is kept per stream, nothing
 * is sent twice under two identities, and memory is bounded whatever the cluster does.
 */
import { Buffer } from 'node:buffer'
import type { Environment, Timer } from '../core/environment.ts'
import { EXIT, ObfeedError } from '../core/errors.ts'
import { foreignError } from '../core/foreign-text.ts'
import type { PlannedSymbol } from '../core/instrument.ts'
import { Backlog } from '../sinks/backlog.ts'
import { Flushes } from '../sinks/flushes.ts'
import { KIND_INVALID, RECORD_BYTES_MAX } from '../sinks/sink.ts'
import type { EventKind, Sink, SinkEvents, SinkStats } from '../sinks/sink.ts'
import { countSent, newSinkStats } from '../sinks/stats.ts'
import { Group } from './group.ts'
import type { GroupOwner } from './group.ts'
import { Lane } from './lane.ts'
import { LeaderWatch } from './leaders.ts'
import type { Wire } from './wire.ts'

export interface PublisherOptions {
  readonly whenFull: 'conflate' | 'block' | 'exit'
  /** Bound on what waits, over all streams, with about 64 bytes more for each record. */
  readonly queueBytesMax: number
  /** `conflate`: a stream whose oldest waiting event is older starts anew. */
  readonly queueAgeMsMax: number
  readonly deliveryTimeoutMs: number
  /** The topic takes no batches as large as the last ones: they have at most so many bytes now. */
  narrowed?(batchBytesMax: number, error: ObfeedError): void
}

/** A connection to the cluster must come about this soon at start. */
const START_TIMEOUT_MS = 15_000
/** A partition the cluster does not know for so long is gone. */
const MISSING_TIMEOUT_MS = 30_000
/** Columns of a queued record. */
const RECORD_OVERHEAD = 64
/** Raw bytes of a partition in one request; a topic refuses batches beyond 1 MiB by default. */
const BATCH_BYTES_MAX = 900_000
/** A topic that refuses even this takes no books. */
const BATCH_BYTES_MIN = 4_096
/** `block` and `exit` cannot stop a frame half way, but memory stays bounded. */
const HARD_LIMIT = 2
const LOW_WATER = 0.5

export class Publisher implements Sink {
  readonly #stats: SinkStats = newSinkStats()
  readonly #options: PublisherOptions
  readonly #environment: Environment
  readonly #wire: Wire
  readonly #owner: GroupOwner
  readonly #backlog: Backlog
  readonly #flushes: Flushes
  readonly #leaders: LeaderWatch
  #events: SinkEvents | undefined
  #keys: Uint8Array[] = []

  readonly #lanes: Lane[] = []
  readonly #lanesByPartition = new Map<number, Lane>()
  /** By stream. */
  #laneOf: Lane[] = []
  readonly #groups = new Map<number, Group>()

  /** By stream: acknowledged sends of its group when it was blocked. */
  #blockedAt = new Float64Array(0)
  #batchBytesMax = BATCH_BYTES_MAX
  #pressure = false
  #failed = false
  #closed = false

  #patrol: Timer | undefined
  /** While `start` waits. */
  #starting: { resolve(): void; reject(error: Error): void; lastError: Error } | undefined

  constructor(options: PublisherOptions, environment: Environment, wire: Wire) {
    this.#options = options
    this.#environment = environment
    this.#wire = wire
    const batchBytesMax = () => this.#batchBytesMax
    this.#owner = {
      keys: this.#keys,
      deliveryTimeoutMs: options.deliveryTimeoutMs,
      get batchBytesMax() {
        return batchBytesMax()
      },
      stored: (lane) => this.#stored(lane),
      lost: (lanes, error) => this.#lost(lanes, error),
      settled: () => this.#settled(),
      unavailable: (error) => this.#unavailable(error),
    }
    this.#backlog = new Backlog(this.#stats, RECORD_OVERHEAD, this.#lanes, {
      dropped: (stream, events) => this.#dropped(stream, events),
      canResume: (stream) => this.#canResume(stream),
      writable: (stream) => this.#events?.writable(stream),
    })
    this.#flushes = new Flushes(environment, this.#lanes)
    this.#leaders = new LeaderWatch(environment, wire, {
      leadersRead: (leaders) => this.#leadersRead(leaders),
      leadersFailed: (error) => this.#leadersFailed(error),
    })
  }

  /** Brought up to date by reading it; the same object every time. */
  get stats(): SinkStats {
    let oldestMs = Infinity
    for (const lane of this.#lanes) oldestMs = Math.min(oldestMs, lane.oldestPushedMs)
    this.#stats.oldestMs = oldestMs === Infinity ? 0 : this.#environment.monotonicMs() - oldestMs
    return this.#stats
  }

  /** Some room in a batch is for keys, headers and what frames a record. */
  get recordBytesMax(): number {
    return Math.floor(this.#batchBytesMax * RECORD_BYTES_MAX / BATCH_BYTES_MAX)
  }

  /**
   * Rejects with `E_UNAVAILABLE` when no broker answers within about 15 s, and with the wire's own
   * error when trying again cannot help.
   */
  start(streams: readonly PlannedSymbol[], events: SinkEvents): Promise<void> {
    this.#events = events
    this.#blockedAt = new Float64Array(streams.length)
    this.#laneOf = streams.map(({ partition }) => this.#laneFor(partition))
    this.#backlog.start(this.#laneOf)
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
      this.#leaders.read()
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
    const backlog = this.#backlog
    const nowMs = this.#environment.monotonicMs()
    if (!backlog.push(stream, kind, bytes, start, end, timestampMs, nowMs)) return false
    if (this.#patrol === undefined) this.#startPatrol()
    if (backlog.cost > this.#options.queueBytesMax) this.#overflow()
    this.#groups.get(lane.leader)?.pump()
    return kind === KIND_INVALID || !backlog.isBlocked(stream)
  }

  flush(timeoutMs: number): Promise<boolean> {
    if (this.#closed) return Promise.resolve(false)
    return this.#flushes.wait(timeoutMs, this.#backlog.lostRecords)
  }

  async close(): Promise<void> {
    if (this.#closed) return
    this.#closed = true
    this.#stats.connected = false
    this.#patrol?.cancel()
    this.#leaders.close()
    this.#flushes.fail()
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
      `Kafka does not take writes (${foreignError(lastError)}); expected a leader and a producer ` +
        `identity for every partition within ${START_TIMEOUT_MS / 1000} s; check the brokers`,
      { scope: 'agent', exitCode: EXIT.unavailable, cause: lastError },
    )
  }

  // ---- what became of a send

  #stored(lane: Lane): void {
    const piece = lane.inFlight
    if (piece === undefined) return
    countSent(this.#stats, piece, this.#environment.monotonicMs())
    this.#backlog.release(lane)
  }

  #lost(lanes: readonly Lane[], error: Error): void {
    this.#stats.errors += 1
    this.#stats.retries += 1
    const narrowed = this.#narrow(lanes, error)
    this.#backlog.lose(lanes)
    if (!narrowed) this.#judge(error)
    this.#leaders.readSoon()
  }

  /**
   * Which topic takes how much is learnt from what it refuses: the next batches are half as large,
   * and so are the parts of the snapshots with which the streams of the lost ones begin anew.
   */
  #narrow(lanes: readonly Lane[], error: Error): boolean {
    if (!(error instanceof ObfeedError) || error.code !== 'E_TOO_LARGE') return false
    let largest = 0
    for (const { inFlight } of lanes) largest = Math.max(largest, inFlight?.bytes ?? 0)
    const half = Math.floor(Math.min(largest, this.#batchBytesMax) / 2)
    if (half < BATCH_BYTES_MIN) return false
    this.#batchBytesMax = half
    this.#options.narrowed?.(half, error)
    return true
  }

  #settled(): void {
    if (this.#closed) return
    this.#moveLanes()
    this.#updateConnected()
    this.#wakeStreams()
    this.#flushes.check(this.#backlog.lostRecords)
  }

  #unavailable(error: Error): void {
    this.#stats.errors += 1
    this.#stats.retries += 1
    if (this.#starting !== undefined) this.#starting.lastError = error
    this.#judge(error)
    this.#updateConnected()
    this.#leaders.readSoon()
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

  #dropped(stream: number, events: number): void {
    this.#blockedAt[stream] = this.#groups.get(this.#laneOf[stream].leader)?.acknowledged ?? 0
    if (this.#patrol === undefined) this.#startPatrol()
    this.#events?.dropped(stream, events)
  }

  /** Sends of its group succeed again. */
  #canResume(stream: number): boolean {
    const group = this.#groups.get(this.#laneOf[stream].leader)
    if (group === undefined || !group.isReady) return false
    return !group.isSending || group.acknowledged !== this.#blockedAt[stream]
  }

  #overflow(): void {
    const { whenFull, queueBytesMax } = this.#options
    if (whenFull === 'conflate') {
      this.#backlog.conflateTo(queueBytesMax)
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
          `${this.#stats.queuedRecords} events wait for Kafka; expected at most ${queueBytesMax} ` +
            'bytes of them; check the cluster and the link to it, or use --when-full conflate',
          { scope: 'agent', exitCode: EXIT.temporary },
        ),
      )
    }
    this.#backlog.conflateTo(queueBytesMax * HARD_LIMIT)
  }

  /** Runs only while something waits or is blocked. */
  #startPatrol(): void {
    const periodMs = Math.max(10, Math.min(250, this.#options.queueAgeMsMax / 4))
    this.#patrol = this.#environment.setTimer(periodMs, () => {
      this.#patrol = undefined
      if (this.#closed) return
      this.#checkAges()
      this.#updateConnected()
      this.#wakeStreams()
      this.#flushes.check(this.#backlog.lostRecords)
      if (
        this.#patrol === undefined &&
        (this.#stats.queuedRecords > 0 || this.#backlog.blockedCount > 0)
      ) {
        this.#startPatrol()
      }
    })
  }

  #checkAges(): void {
    if (this.#options.whenFull !== 'conflate') return
    this.#backlog.dropOlderThan(this.#environment.monotonicMs() - this.#options.queueAgeMsMax)
  }

  /** Tells blocked streams to begin anew where sends succeed again and there is room. */
  #wakeStreams(): void {
    const lowWater = this.#options.queueBytesMax * LOW_WATER
    if (this.#pressure && this.#backlog.cost <= lowWater) {
      this.#pressure = false
      this.#events?.pressure(false)
    }
    this.#backlog.resume(lowWater)
  }

  // ---- leaders

  #leadersFailed(error: Error): void {
    this.#stats.errors += 1
    if (this.#starting !== undefined) this.#starting.lastError = error
    this.#judge(error)
  }

  #leadersRead(leaders: ReadonlyMap<number, number>): boolean {
    const nowMs = this.#environment.monotonicMs()
    let complete = true
    for (const lane of this.#lanes) {
      const leader = leaders.get(lane.partition)
      if (leader !== undefined) lane.missingSinceMs = -1
      else if (lane.missingSinceMs < 0) lane.missingSinceMs = nowMs
      else if (nowMs - lane.missingSinceMs >= MISSING_TIMEOUT_MS) this.#vanished(lane)
      lane.nextLeader = leader ?? -1
      if (lane.nextLeader < 0) complete = false
    }
    this.#settled()
    if (!complete && this.#starting !== undefined) {
      this.#starting.lastError = new Error('a partition has no leader')
    }
    return complete
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
        lane.nextLeader >= 0 && this.#groups.get(lane.leader)?.isHealthy === true
      )
    this.#stats.connected = connected
    if (connected) this.#starting?.resolve()
  }
}
