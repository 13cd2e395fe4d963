/** The sink for pipes: exactly the record values, one line each, never interleaved. */
import { Buffer } from 'node:buffer'
import process from 'node:process'
import type { Environment, Timer } from '../core/environment.ts'
import { EXIT, ObfeedError } from '../core/errors.ts'
import type { PlannedSymbol } from '../core/instrument.ts'
import { RecordQueue } from './queue.ts'
import { KIND_INVALID, LATENCY_BUCKETS_S } from './sink.ts'
import type { EventKind, Sink, SinkEvents, SinkStats } from './sink.ts'

/** Where lines go; `process.stdout` is one. */
export interface LineOutput {
  /** Calls back once the bytes are out of this process, or with the reason why they are not. */
  write(bytes: Uint8Array, done: (error?: Error | null) => void): unknown
  on(event: 'error', listener: (error: Error) => void): unknown
}

const QUEUE_BYTES_MAX = 32 * 1024 * 1024
const QUEUE_AGE_MS_MAX = 10_000
const LOW_WATER = QUEUE_BYTES_MAX / 2
/** One write at most; what a pipe takes at once is less. */
const WRITE_BYTES_MAX = 1024 * 1024
const WRITE_RECORDS_MAX = 4_096
const PATROL_MS = 250
const NEWLINE = 10
const NO_KEYS: readonly Uint8Array[] = []

interface Flush {
  readonly target: number
  readonly lost: number
  readonly timer: Timer
  resolve(complete: boolean): void
}

/**
 * What arrives while a write is under way forms the next one; a line after idle leaves at once. A
 * reader that is too slow loses whole backlogs, symbol by symbol, and each goes on with a snapshot.
 * A reader that has gone (`| head`) is reported as `failed` with exit code 0.
 */
export class StdoutSink implements Sink {
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
  readonly #environment: Environment
  readonly #output: LineOutput
  readonly #queue = new RecordQueue()
  #events: SinkEvents | undefined
  /** By stream: 1 from `dropped` to `writable`. */
  #blocked = new Uint8Array(0)
  #blockedCount = 0
  #lostRecords = 0
  #writeQueued = false
  #closed = false
  #gone = false
  #patrol: Timer | undefined
  #flushes: Flush[] = []

  constructor(environment: Environment, output: LineOutput = process.stdout) {
    this.#environment = environment
    this.#output = output
  }

  start(streams: readonly PlannedSymbol[], events: SinkEvents): Promise<void> {
    this.#events = events
    this.#blocked = new Uint8Array(streams.length)
    this.#output.on('error', (error) => this.#fail(error))
    this.stats.connected = true
    return Promise.resolve()
  }

  push(
    stream: number,
    kind: EventKind,
    bytes: Uint8Array,
    start: number,
    end: number,
    timestampMs: number,
  ): boolean {
    if (this.#closed || this.#gone) return false
    if (this.#blocked[stream] === 1) {
      if (kind !== KIND_INVALID) return false
      this.#forget(this.#queue.drop(stream, false))
    }
    const nowMs = this.#environment.monotonicMs()
    this.#queue.push(stream, kind, bytes, start, end, timestampMs, nowMs)
    this.stats.queuedRecords += 1
    this.stats.queuedBytes += end - start
    if (this.#patrol === undefined) this.#startPatrol()
    while (this.#queue.queuedBytes > QUEUE_BYTES_MAX && this.#dropLargest());
    this.#writeSoon()
    return kind === KIND_INVALID || this.#blocked[stream] === 0
  }

  flush(timeoutMs: number): Promise<boolean> {
    if (this.#closed || this.#gone) return Promise.resolve(false)
    return new Promise((resolve) => {
      const flush: Flush = {
        target: this.#queue.nextSerial,
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

  close(): Promise<void> {
    this.#closed = true
    this.stats.connected = false
    this.#patrol?.cancel()
    for (const flush of [...this.#flushes]) flush.resolve(false)
    return Promise.resolve()
  }

  #writeSoon(): void {
    if (this.#writeQueued || this.#queue.inFlight !== undefined) return
    this.#writeQueued = true
    queueMicrotask(() => {
      this.#writeQueued = false
      this.#write()
    })
  }

  #write(): void {
    const queue = this.#queue
    if (this.#gone || queue.inFlight !== undefined || queue.queuedRecords === 0) return
    const piece = queue.take(WRITE_RECORDS_MAX, WRITE_BYTES_MAX, NO_KEYS)
    const lines = Buffer.allocUnsafe(piece.bytes + piece.records.length)
    let at = 0
    for (const { value } of piece.records) {
      lines.set(value, at)
      at += value.length
      lines[at++] = NEWLINE
    }
    this.#output.write(lines, (error) => {
      if (error) this.#fail(error)
      else this.#written()
    })
  }

  #written(): void {
    const piece = this.#queue.inFlight
    if (piece === undefined || this.#gone) return
    const stats = this.stats
    const nowMs = this.#environment.monotonicMs()
    for (const pushedMs of piece.pushedMs) {
      const seconds = (nowMs - pushedMs) / 1000
      let bucket = 0
      while (bucket < LATENCY_BUCKETS_S.length && seconds > LATENCY_BUCKETS_S[bucket]) bucket++
      stats.latencyBuckets[bucket] += 1
      stats.latencySumS += seconds
    }
    stats.latencyCount += piece.records.length
    stats.sentRecords += piece.records.length
    stats.sentBytes += piece.bytes
    stats.queuedRecords -= piece.records.length
    stats.queuedBytes -= piece.bytes
    this.#queue.acknowledge()
    this.#wakeStreams()
    this.#checkFlushes()
    this.#writeSoon()
  }

  #fail(error: Error): void {
    if (this.#gone) return
    this.#gone = true
    this.stats.connected = false
    this.stats.errors += 1
    for (const flush of [...this.#flushes]) flush.resolve(false)
    const code = (error as { code?: string }).code
    const isGone = code === 'EPIPE' || code === 'ERR_STREAM_DESTROYED'
    this.#events?.failed(
      new ObfeedError(
        'E_SINK',
        isGone
          ? 'the reader of stdout has gone'
          : `stdout cannot be written (${error.message}); expected a file or pipe with room`,
        { scope: 'agent', exitCode: isGone ? EXIT.ok : EXIT.cannotCreate, cause: error },
      ),
    )
  }

  #drop(stream: number): void {
    const events = this.#queue.drop(stream, true)
    this.#forget(events)
    if (this.#blocked[stream] === 1) return
    this.#blocked[stream] = 1
    this.#blockedCount += 1
    this.#events?.dropped(stream, events)
  }

  #forget(events: number): void {
    if (events === 0) return
    this.stats.droppedRecords += events
    this.stats.queuedRecords -= events
    this.stats.queuedBytes -= this.#queue.droppedBytes
    this.#lostRecords += events
  }

  /** False: there is nothing that may be dropped. */
  #dropLargest(): boolean {
    const waiting = new Float64Array(this.#blocked.length)
    this.#queue.addWaitingBytes(waiting)
    let largest = 0
    for (let stream = 1; stream < waiting.length; stream++) {
      if (waiting[stream] > waiting[largest]) largest = stream
    }
    if (!(waiting[largest] > 0)) return false
    this.#drop(largest)
    return true
  }

  #startPatrol(): void {
    this.#patrol = this.#environment.setTimer(PATROL_MS, () => {
      this.#patrol = undefined
      if (this.#closed || this.#gone) return
      const oldestMs = this.#environment.monotonicMs() - QUEUE_AGE_MS_MAX
      for (;;) {
        const stream = this.#queue.streamOlderThan(oldestMs)
        if (stream < 0) break
        this.#drop(stream)
      }
      this.#checkFlushes()
      const isBusy = this.stats.queuedRecords > 0 || this.#blockedCount > 0
      if (this.#patrol === undefined && isBusy) this.#startPatrol()
    })
  }

  /** After a write: the reader reads. */
  #wakeStreams(): void {
    if (this.#blockedCount === 0) return
    for (let stream = 0; stream < this.#blocked.length; stream++) {
      if (this.#queue.queuedBytes > LOW_WATER) return
      if (this.#blocked[stream] === 0) continue
      this.#blocked[stream] = 0
      this.#blockedCount -= 1
      this.#events?.writable(stream)
    }
  }

  #checkFlushes(): void {
    for (const flush of [...this.#flushes]) {
      if (this.#lostRecords > flush.lost) flush.resolve(false)
      else if (this.#queue.oldestSerial >= flush.target) flush.resolve(true)
    }
  }
}
