/** A queue of events in order: bytes in memory of its own, columns instead of objects. */
import { Buffer } from 'node:buffer'
import { copyBytes } from '../core/slab.ts'
import { KIND_INVALID } from './sink.ts'
import type { EventKind } from './sink.ts'

export interface QueuedRecord {
  /** Symbol, UTF-8. */
  readonly key: Uint8Array
  /** A view of the queue's memory, valid until the piece it left with is acknowledged. */
  readonly value: Uint8Array
  readonly timestampMs: number
  readonly kind: EventKind
}

const CHUNK_BYTES_MIN = 4 * 1024
const CHUNK_BYTES_MAX = 64 * 1024
/** Rows that an empty queue keeps. */
const COLUMNS_KEPT = 4_096

/** A piece of queue memory; it is written again once none of its records is needed. */
interface Chunk {
  readonly bytes: Buffer
  used: number
  records: number
}

/** What left the queue together and is not settled yet. */
export interface InFlight {
  readonly records: QueuedRecord[]
  /** By record, as in `records`. */
  readonly streams: number[]
  readonly pushedMs: number[]
  /** Serial of the first record. */
  readonly first: number
  readonly bytes: number
}

/**
 * Records in the order they came. At most one piece of it is in flight; that piece is settled by
 * `acknowledge` or `abandon` before the next is taken.
 */
export class RecordQueue {
  inFlight: InFlight | undefined = undefined
  queuedBytes = 0
  /** By the last `drop`. */
  droppedBytes = 0

  #head = 0
  #tail = 0
  #capacity = 64
  #chunk: (Chunk | undefined)[] = []
  #start = new Float64Array(64)
  #end = new Float64Array(64)
  #stream = new Int32Array(64)
  #kind = new Uint8Array(64)
  #timestampMs = new Float64Array(64)
  #pushedMs = new Float64Array(64)
  #serial = new Float64Array(64)

  #nextSerial = 0
  #current: Chunk = newChunk(CHUNK_BYTES_MIN)
  #spare: Chunk | undefined = undefined
  #inFlightChunks: Chunk[] = []

  get queuedRecords(): number {
    return this.#tail - this.#head
  }

  /** Serial the next record will get; what is pushed later has it or a higher one. */
  get nextSerial(): number {
    return this.#nextSerial
  }

  /** Serial of the oldest unsettled record; `Infinity` when there is none. */
  get oldestSerial(): number {
    if (this.inFlight !== undefined) return this.inFlight.first
    return this.#tail === this.#head ? Infinity : this.#serial[this.#head]
  }

  /** When the oldest unsettled record came; `Infinity` when there is none. */
  get oldestPushedMs(): number {
    if (this.inFlight !== undefined) return this.inFlight.pushedMs[0]
    return this.#tail === this.#head ? Infinity : this.#pushedMs[this.#head]
  }

  /** A stream with a queued record, `invalid` events apart, that came before `pushedMs`; else -1. */
  streamOlderThan(pushedMs: number): number {
    for (let row = this.#head; row < this.#tail && this.#pushedMs[row] < pushedMs; row++) {
      if (this.#kind[row] !== KIND_INVALID) return this.#stream[row]
    }
    return -1
  }

  /** Adds the queued bytes that `drop` would free, by stream. */
  addWaitingBytes(byStream: Float64Array): void {
    for (let row = this.#head; row < this.#tail; row++) {
      if (this.#kind[row] === KIND_INVALID) continue
      byStream[this.#stream[row]] += this.#end[row] - this.#start[row]
    }
  }

  push(
    stream: number,
    kind: EventKind,
    bytes: Uint8Array,
    start: number,
    end: number,
    timestampMs: number,
    nowMs: number,
  ): void {
    if (this.#tail === this.#capacity) this.#makeRoom()
    const length = end - start
    const chunk = this.#chunkFor(length)
    const at = chunk.used
    copyBytes(chunk.bytes, at, bytes, start, end)
    chunk.used += length
    chunk.records += 1
    const row = this.#tail
    this.#chunk[row] = chunk
    this.#start[row] = at
    this.#end[row] = at + length
    this.#stream[row] = stream
    this.#kind[row] = kind
    this.#timestampMs[row] = timestampMs
    this.#pushedMs[row] = nowMs
    this.#serial[row] = this.#nextSerial
    this.#nextSerial += 1
    this.#tail += 1
    this.queuedBytes += length
  }

  /** Moves the head of the queue in flight; always one record at least. */
  take(recordsMax: number, bytesMax: number, keys: readonly Uint8Array[]): InFlight {
    const records: QueuedRecord[] = []
    const streams: number[] = []
    const pushedMs: number[] = []
    const first = this.#serial[this.#head]
    let bytes = 0
    while (this.#head < this.#tail && records.length < recordsMax) {
      const row = this.#head
      const start = this.#start[row]
      const end = this.#end[row]
      if (records.length > 0 && bytes + end - start > bytesMax) break
      bytes += end - start
      const chunk = this.#chunk[row] as Chunk
      this.#chunk[row] = undefined
      const stream = this.#stream[row]
      records.push({
        key: keys[stream],
        value: chunk.bytes.subarray(start, end),
        timestampMs: this.#timestampMs[row],
        kind: this.#kind[row] as EventKind,
      })
      streams.push(stream)
      pushedMs.push(this.#pushedMs[row])
      this.#inFlightChunks.push(chunk)
      this.#head += 1
    }
    this.queuedBytes -= bytes
    if (this.#head === this.#tail) this.#emptied()
    this.inFlight = { records, streams, pushedMs, first, bytes }
    return this.inFlight
  }

  /** The piece in flight was stored: its memory is free again. */
  acknowledge(): void {
    for (const chunk of this.#inFlightChunks) this.#release(chunk)
    this.#inFlightChunks.length = 0
    this.inFlight = undefined
  }

  /**
   * The fate of the piece in flight is unknown. A request that is still on its way may yet be
   * written to a socket, so its memory is never written again.
   */
  abandon(): void {
    // Its records are never counted out, so a chunk of theirs is never taken for free again.
    if (this.#inFlightChunks.includes(this.#current)) this.#current = newChunk(CHUNK_BYTES_MIN)
    this.#inFlightChunks.length = 0
    this.inFlight = undefined
  }

  /**
   * Drops what waits of `stream` (all of it, or all but its last `invalid` event, without which a
   * consumer would go on using the book) and returns how many records that was.
   */
  drop(stream: number, keepInvalid: boolean): number {
    let kept = -1
    if (keepInvalid) {
      for (let row = this.#tail - 1; row >= this.#head && kept < 0; row--) {
        if (this.#stream[row] === stream && this.#kind[row] === KIND_INVALID) kept = row
      }
    }
    let to = this.#head
    let dropped = 0
    this.droppedBytes = 0
    for (let row = this.#head; row < this.#tail; row++) {
      if (this.#stream[row] === stream && row !== kept) {
        this.droppedBytes += this.#end[row] - this.#start[row]
        this.#release(this.#chunk[row] as Chunk)
        dropped += 1
        continue
      }
      if (to !== row) this.#move(row, to)
      to += 1
    }
    for (let row = to; row < this.#tail; row++) this.#chunk[row] = undefined
    this.#tail = to
    this.queuedBytes -= this.droppedBytes
    if (this.#head === this.#tail) this.#emptied()
    return dropped
  }

  /** Starts at the front again, and gives back what a long queue needed. */
  #emptied(): void {
    this.#head = this.#tail = 0
    if (this.#capacity <= COLUMNS_KEPT) return
    this.#resize(COLUMNS_KEPT)
    this.#chunk = []
  }

  #resize(capacity: number): void {
    this.#capacity = capacity
    this.#start = resized(this.#start, new Float64Array(capacity))
    this.#end = resized(this.#end, new Float64Array(capacity))
    this.#stream = resized(this.#stream, new Int32Array(capacity))
    this.#kind = resized(this.#kind, new Uint8Array(capacity))
    this.#timestampMs = resized(this.#timestampMs, new Float64Array(capacity))
    this.#pushedMs = resized(this.#pushedMs, new Float64Array(capacity))
    this.#serial = resized(this.#serial, new Float64Array(capacity))
  }

  #move(from: number, to: number): void {
    this.#chunk[to] = this.#chunk[from]
    this.#start[to] = this.#start[from]
    this.#end[to] = this.#end[from]
    this.#stream[to] = this.#stream[from]
    this.#kind[to] = this.#kind[from]
    this.#timestampMs[to] = this.#timestampMs[from]
    this.#pushedMs[to] = this.#pushedMs[from]
    this.#serial[to] = this.#serial[from]
  }

  /** Shifts the queue to the front, or doubles the columns when it fills more than half of them. */
  #makeRoom(): void {
    const head = this.#head
    const count = this.#tail - head
    if (count > this.#capacity / 2) this.#resize(this.#capacity * 2)
    if (head === 0) return
    for (let i = 0; i < count; i++) this.#move(head + i, i)
    for (let row = count; row < this.#tail; row++) this.#chunk[row] = undefined
    this.#head = 0
    this.#tail = count
  }

  #chunkFor(length: number): Chunk {
    const current = this.#current
    if (current.used + length <= current.bytes.length) return current
    if (length > CHUNK_BYTES_MAX / 4) return newChunk(length) // a chunk of its own
    const spare = this.#spare
    this.#spare = undefined
    const size = Math.min(CHUNK_BYTES_MAX, Math.max(current.bytes.length * 2, length * 4))
    this.#current = spare !== undefined && spare.bytes.length >= size ? spare : newChunk(size)
    return this.#current
  }

  #release(chunk: Chunk): void {
    chunk.records -= 1
    if (chunk.records > 0) return
    chunk.used = 0
    if (chunk === this.#current || chunk.bytes.length > CHUNK_BYTES_MAX) return
    if (this.#spare === undefined || this.#spare.bytes.length < chunk.bytes.length) {
      this.#spare = chunk
    }
  }
}

function newChunk(size: number): Chunk {
  return { bytes: Buffer.allocUnsafeSlow(size), used: 0, records: 0 }
}

type Column = Float64Array<ArrayBuffer> | Int32Array<ArrayBuffer> | Uint8Array<ArrayBuffer>

function resized<T extends Column>(from: T, to: T): T {
  to.set(from.length > to.length ? from.subarray(0, to.length) : from)
  return to
}
