/** The sink for pipes: exactly the record values, one line each, never interleaved. */
import { Buffer } from 'node:buffer'
import process from 'node:process'
import type { Environment, Timer } from '../core/environment.ts'
import { EXIT, ObfeedError } from '../core/errors.ts'
import type { PlannedSymbol } from '../core/instrument.ts'
import { Backlog } from './backlog.ts'
import { Flushes } from './flushes.ts'
import { RecordQueue } from './queue.ts'
import { KIND_INVALID, RECORD_BYTES_MAX } from './sink.ts'
import type { EventKind, Sink, SinkEvents, SinkStats } from './sink.ts'
import { countSent, newSinkStats } from './stats.ts'

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

/**
 * What arrives while a write is under way forms the next one; a line after idle leaves at once. A
 * reader that is too slow loses whole backlogs, symbol by symbol, and each goes on with a snapshot.
 * A reader that has gone (`| head`) is reported as `failed` with exit code 0.
 */
export class StdoutSink implements Sink {
  readonly recordBytesMax = RECORD_BYTES_MAX
  readonly stats: SinkStats = newSinkStats()
  readonly #environment: Environment
  readonly #output: LineOutput
  readonly #queue = new RecordQueue()
  readonly #queues: readonly RecordQueue[] = [this.#queue]
  readonly #backlog = new Backlog(this.stats, 0, this.#queues, {
    dropped: (stream, events) => this.#events?.dropped(stream, events),
    canResume: () => true,
    writable: (stream) => this.#events?.writable(stream),
  })
  readonly #flushes: Flushes
  #events: SinkEvents | undefined
  #writeQueued = false
  #closed = false
  #gone = false
  #patrol: Timer | undefined

  constructor(environment: Environment, output: LineOutput = process.stdout) {
    this.#environment = environment
    this.#output = output
    this.#flushes = new Flushes(environment, this.#queues)
  }

  start(streams: readonly PlannedSymbol[], events: SinkEvents): Promise<void> {
    this.#events = events
    this.#backlog.start(streams.map(() => this.#queue))
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
    const backlog = this.#backlog
    const nowMs = this.#environment.monotonicMs()
    if (!backlog.push(stream, kind, bytes, start, end, timestampMs, nowMs)) return false
    if (this.#patrol === undefined) this.#startPatrol()
    backlog.conflateTo(QUEUE_BYTES_MAX)
    this.#writeSoon()
    return kind === KIND_INVALID || !backlog.isBlocked(stream)
  }

  flush(timeoutMs: number): Promise<boolean> {
    if (this.#closed || this.#gone) return Promise.resolve(false)
    return this.#flushes.wait(timeoutMs, this.#backlog.lostRecords)
  }

  close(): Promise<void> {
    this.#closed = true
    this.stats.connected = false
    this.#patrol?.cancel()
    this.#flushes.fail()
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
    // The bound is on what waits behind a write.
    this.#backlog.release(queue)
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
    countSent(this.stats, piece, this.#environment.monotonicMs())
    this.#queue.acknowledge()
    // The reader reads.
    this.#backlog.resume(LOW_WATER)
    this.#flushes.check(this.#backlog.lostRecords)
    this.#writeSoon()
  }

  #fail(error: Error): void {
    if (this.#gone) return
    this.#gone = true
    this.stats.connected = false
    this.stats.errors += 1
    this.#flushes.fail()
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

  #startPatrol(): void {
    this.#patrol = this.#environment.setTimer(PATROL_MS, () => {
      this.#patrol = undefined
      if (this.#closed || this.#gone) return
      this.#backlog.dropOlderThan(this.#environment.monotonicMs() - QUEUE_AGE_MS_MAX)
      this.#flushes.check(this.#backlog.lostRecords)
      const isBusy = this.stats.queuedRecords > 0 || this.#backlog.blockedCount > 0
      if (this.#patrol === undefined && isBusy) this.#startPatrol()
    })
  }
}
