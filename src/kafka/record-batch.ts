/**
 * Record batches (magic 2) as they lie in a fetch response: their headers without unpacking, and
 * their records.
 */
import { Buffer } from 'node:buffer'
import { foreignError } from '../core/foreign-text.ts'
import { CODECS, decompress } from './codecs.ts'

/** What stands before the records. */
export interface BatchHeader {
  readonly firstOffset: number
  readonly lastOffset: number
  /** Ms since 1970, the highest of its records. */
  readonly maxTimestampMs: number
  readonly firstTimestampMs: number
  /** -1: not an idempotent producer. */
  readonly producerId: number
  readonly attributes: number
  readonly recordCount: number
  /** The records as stored; shorter than they are when the response was cut here. */
  readonly body: Uint8Array
  readonly isWhole: boolean
}

export interface BatchRecord {
  readonly offset: number
  readonly timestampMs: number
  readonly key: Uint8Array | null
  readonly value: Uint8Array | null
  /** Of the header `obfeed-producer`; undefined when the record has none. */
  readonly producer: string | undefined
}

/** Says by whom a record was published: `host/pid/version`. */
export const PRODUCER_HEADER = 'obfeed-producer'

const HEADER_BYTES = 61
/** `firstOffset` and `length` are not counted in `length`. */
const LENGTH_AT = 8
const AFTER_LENGTH = 12
const MAGIC = 2
const CODEC_MASK = 7
const CONTROL_FLAG = 32
const LOG_APPEND_FLAG = 8

/** A batch that cannot be read; its offsets are known when its header was sound. */
export class UnreadableBatch extends Error {
  readonly lastOffset: number | undefined

  constructor(message: string, lastOffset?: number) {
    super(message)
    this.name = 'UnreadableBatch'
    this.lastOffset = lastOffset
  }
}

/**
 * The headers of the batches in `bytes`, in order; the last one may be cut short (`isWhole` false).
 *
 * @throws {UnreadableBatch} for a format before Kafka 0.11.
 */
export function* batchesOf(bytes: Uint8Array): Generator<BatchHeader> {
  const view = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  let at = 0
  while (at + HEADER_BYTES <= view.length) {
    const magic = view.readInt8(at + 16)
    if (magic !== MAGIC) {
      throw new UnreadableBatch(`records of message format ${magic}, expected ${MAGIC}`)
    }
    const firstOffset = Number(view.readBigInt64BE(at))
    const end = at + AFTER_LENGTH + view.readInt32BE(at + LENGTH_AT)
    if (end < at + HEADER_BYTES) throw new UnreadableBatch('a record batch without a length')
    yield {
      firstOffset,
      attributes: view.readInt16BE(at + 21),
      lastOffset: firstOffset + view.readInt32BE(at + 23),
      firstTimestampMs: Number(view.readBigInt64BE(at + 27)),
      maxTimestampMs: Number(view.readBigInt64BE(at + 35)),
      producerId: Number(view.readBigInt64BE(at + 43)),
      recordCount: view.readInt32BE(at + 57),
      body: view.subarray(at + HEADER_BYTES, Math.min(end, view.length)),
      isWhole: end <= view.length,
    }
    at = end
  }
}

/** Marks the begin or end of a transaction: nothing for a reader. */
export function isControlBatch(batch: BatchHeader): boolean {
  return (batch.attributes & CONTROL_FLAG) !== 0
}

/** @throws {UnreadableBatch} when it cannot be unpacked or is not what its header says. */
export function recordsOf(batch: BatchHeader): BatchRecord[] {
  const codec = CODECS[batch.attributes & CODEC_MASK]
  if (codec === undefined) {
    throw new UnreadableBatch(
      `compression ${batch.attributes & CODEC_MASK} is not known`,
      batch.lastOffset,
    )
  }
  try {
    const bytes = decompress(codec, batch.body)
    return readRecords(batch, Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength))
  } catch (error) {
    const found = foreignError(error)
    throw new UnreadableBatch(`a batch of ${codec} cannot be read (${found})`, batch.lastOffset)
  }
}

function readRecords(batch: BatchHeader, bytes: Buffer): BatchRecord[] {
  const scanner = new Scanner(bytes)
  const records: BatchRecord[] = new Array(batch.recordCount)
  const isAppendTime = (batch.attributes & LOG_APPEND_FLAG) !== 0
  for (let i = 0; i < records.length; i++) {
    const length = scanner.number()
    const end = scanner.at + length
    scanner.at += 1 // attributes, none are defined
    const timestampDelta = scanner.number()
    const offsetDelta = scanner.number()
    const key = scanner.bytes()
    const value = scanner.bytes()
    records[i] = {
      offset: batch.firstOffset + offsetDelta,
      timestampMs: isAppendTime ? batch.maxTimestampMs : batch.firstTimestampMs + timestampDelta,
      key,
      value,
      producer: readProducer(scanner),
    }
    if (length <= 0 || end > bytes.length) throw new Error('a record is cut off')
    scanner.at = end
  }
  return records
}

function readProducer(scanner: Scanner): string | undefined {
  let producer: string | undefined
  for (let left = scanner.number(); left > 0; left--) {
    const name = scanner.bytes()
    const value = scanner.bytes()
    if (name?.toString() === PRODUCER_HEADER && value !== null) producer = value.toString()
  }
  return producer
}

class Scanner {
  at = 0
  readonly #bytes: Buffer

  constructor(bytes: Buffer) {
    this.#bytes = bytes
  }

  /** A zigzag varint; without BigInt, for times and offsets stay below 2^53. */
  number(): number {
    let value = 0
    let scale = 1
    for (;;) {
      if (this.at >= this.#bytes.length || scale > 2 ** 56) throw new Error('a number is cut off')
      const byte = this.#bytes[this.at++]
      value += (byte & 127) * scale
      if (byte < 128) break
      scale *= 128
    }
    return value % 2 === 0 ? value / 2 : -(value + 1) / 2
  }

  /** With a length before it; null for -1. */
  bytes(): Buffer | null {
    const length = this.number()
    if (length < 0) return null
    const start = this.at
    this.at += length
    if (this.at > this.#bytes.length) throw new Error('a field is cut off')
    return this.#bytes.subarray(start, this.at)
  }
}
