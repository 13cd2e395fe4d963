/**
 * What waits for a destination that is too slow: how much of it there is, which stream's events go
 * when it is too much, and when that stream may begin anew.
 */
import type { RecordQueue } from './queue.ts'
import { KIND_INVALID } from './sink.ts'
import type { EventKind, SinkStats } from './sink.ts'

/** What a backlog asks of its sink and tells it. */
export interface BacklogOwner {
  /** The stream is blocked from here on; `events` of it will not (or perhaps not) be delivered. */
  dropped(stream: number, events: number): void
  /** Whether this blocked stream may begin anew, as far as its destination goes. */
  canResume(stream: number): boolean
  /** The stream is not blocked any more. */
  writable(stream: number): void
}

/**
 * A stream loses all that waits of it at once and is blocked until there is room: part of its
 * deltas would be worth nothing. Its last `invalid` event is kept, so that no consumer goes on with
 * the book it has.
 */
export class Backlog {
  /** Bytes and overhead of what waits, and of what left the queues until it is released. */
  cost = 0
  lostRecords = 0
  blockedCount = 0

  readonly #stats: SinkStats
  readonly #recordOverhead: number
  readonly #owner: BacklogOwner
  readonly #queues: readonly RecordQueue[]
  /** By stream. */
  #queueOf: readonly RecordQueue[] = []
  /** By stream: 1 from `dropped` to `writable`. */
  #blocked = new Uint8Array(0)

  /** `recordOverhead`: what a record costs beside its bytes; `queues` may grow until `start`. */
  constructor(
    stats: SinkStats,
    recordOverhead: number,
    queues: readonly RecordQueue[],
    owner: BacklogOwner,
  ) {
    this.#stats = stats
    this.#recordOverhead = recordOverhead
    this.#queues = queues
    this.#owner = owner
  }

  /** `queueOf[i]` is the queue of stream i. */
  start(queueOf: readonly RecordQueue[]): void {
    this.#queueOf = queueOf
    this.#blocked = new Uint8Array(queueOf.length)
  }

  isBlocked(stream: number): boolean {
    return this.#blocked[stream] === 1
  }

  /** Queues one event. False: the stream is blocked, and the event no `invalid` one. */
  push(
    stream: number,
    kind: EventKind,
    bytes: Uint8Array,
    start: number,
    end: number,
    timestampMs: number,
    nowMs: number,
  ): boolean {
    const queue = this.#queueOf[stream]
    if (this.#blocked[stream] === 1) {
      if (kind !== KIND_INVALID) return false
      // One is held for a blocked stream; a newer one says it all.
      this.#forget(queue, queue.drop(stream, false))
    }
    queue.push(stream, kind, bytes, start, end, timestampMs, nowMs)
    this.cost += end - start + this.#recordOverhead
    this.#stats.queuedRecords += 1
    this.#stats.queuedBytes += end - start
    return true
  }

  /** What is in flight of `queue` costs nothing any more. Call it once for each piece. */
  release(queue: RecordQueue): void {
    const piece = queue.inFlight
    if (piece === undefined) return
    this.cost -= piece.bytes + piece.records.length * this.#recordOverhead
  }

  /** Gives up what is in flight of these queues, and with it all that waits of the same streams. */
  lose(queues: readonly RecordQueue[]): void {
    const inFlight = new Map<number, number>()
    for (const queue of queues) {
      const piece = queue.inFlight
      if (piece === undefined) continue
      for (const stream of piece.streams) inFlight.set(stream, (inFlight.get(stream) ?? 0) + 1)
      this.#stats.queuedRecords -= piece.records.length
      this.#stats.queuedBytes -= piece.bytes
      this.#stats.droppedRecords += piece.records.length
      this.lostRecords += piece.records.length
      this.release(queue)
    }
    for (const [stream, events] of inFlight) this.#drop(stream, events)
  }

  /** Drops the largest backlogs until the rest fits; what is in flight cannot be dropped. */
  conflateTo(limit: number): void {
    if (this.cost <= limit) return
    const streams = this.#queueOf.length
    const waiting = new Float64Array(streams)
    for (const queue of this.#queues) queue.addWaitingBytes(waiting)
    while (this.cost > limit) {
      let largest = 0
      for (let stream = 1; stream < streams; stream++) {
        if (waiting[stream] > waiting[largest]) largest = stream
      }
      if (!(waiting[largest] > 0)) return
      waiting[largest] = 0
      this.#drop(largest, 0)
    }
  }

  /** Drops the streams whose oldest event was pushed before `oldestMs`. */
  dropOlderThan(oldestMs: number): void {
    for (const queue of this.#queues) {
      for (;;) {
        const stream = queue.streamOlderThan(oldestMs)
        if (stream < 0) break
        this.#drop(stream, 0)
      }
    }
  }

  /** Lets blocked streams begin anew for as long as the cost stays at most `lowWater`. */
  resume(lowWater: number): void {
    if (this.blockedCount === 0) return
    for (let stream = 0; stream < this.#blocked.length; stream++) {
      if (this.cost > lowWater) return
      if (this.#blocked[stream] === 0 || !this.#owner.canResume(stream)) continue
      this.#blocked[stream] = 0
      this.blockedCount -= 1
      this.#owner.writable(stream)
    }
  }

  /** Drops what waits of `stream` and, unless it is blocked already, says so. */
  #drop(stream: number, eventsInFlight: number): void {
    const queue = this.#queueOf[stream]
    const events = queue.drop(stream, true)
    this.#forget(queue, events)
    if (this.#blocked[stream] === 1) return
    this.#blocked[stream] = 1
    this.blockedCount += 1
    this.#owner.dropped(stream, events + eventsInFlight)
  }

  /** Takes records that `queue` just dropped out of the books. */
  #forget(queue: RecordQueue, events: number): void {
    if (events === 0) return
    this.#stats.droppedRecords += events
    this.#stats.queuedRecords -= events
    this.#stats.queuedBytes -= queue.droppedBytes
    this.lostRecords += events
    this.cost -= queue.droppedBytes + events * this.#recordOverhead
  }
}
