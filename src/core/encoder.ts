/** Writes the record values of one symbol: the JSON of the wire format in README.md, byte by byte. */
import type { Book } from './book.ts'
import { writeAscii, writeInteger } from './decimal.ts'
import type { InvalidReason, Proof } from './event.ts'
import { LevelWriter } from './level-writer.ts'
import { patch, PatchedNumber } from './patched-number.ts'
import { type Slab, writeBytes } from './slab.ts'

/** What an exchange message says of itself; `LevelChanges` has this shape. */
export interface Stamp {
  /** The exchange's sequence; -1 when there is none. */
  readonly nonce: number
  /** The sequence as text, only when it is beyond 2^53. */
  readonly nonceText: string | undefined
  /** Exchange event time in ms; -1 when there is none. */
  readonly timestampMs: number
  /** Microseconds since 1970 when the frame reached user code. */
  readonly receivedUs: number
}

const QUOTE = 34
const CLOSE = 93
const CLOSE_OBJECT = 125

const text = new TextEncoder()
const NONCE = text.encode(',"nonce":')
const TIMESTAMP = text.encode(',"timestamp":')
const RECEIVED = text.encode(',"receivedUs":')
const PUBLISHED = text.encode(',"publishedUs":')
const LAST = text.encode(',"lastUs":')
const BIDS = text.encode(',"bids":[')
const ASKS = text.encode('],"asks":[')
const SEQ = text.encode(',"seq":')
const NULL = text.encode('null')
const REASON = text.encode(',"reason":"')
const STATE = text.encode(',"state":"')

/** Bytes of everything but header, levels and `nonceText`: ample. */
const FIELDS_MAX = 400

/** Writes one symbol's events into a slab that all symbols of a worker share. */
export class EventEncoder {
  private readonly book: Book
  private readonly slab: Slab
  /** Everything up to the epoch's digits, per type. */
  private readonly snapshotHead: Uint8Array
  private readonly deltaHead: Uint8Array
  private readonly invalidHead: Uint8Array
  private readonly heartbeatHead: Uint8Array
  /** `,"proof":…` and, unless the view is the whole book, `,"depth":…`. */
  private snapshotTail: Uint8Array
  private readonly proof: Proof
  /** Levels a side that snapshots claim to be the best ones; 0: all that there are. */
  private claimed: number
  private readonly levels: LevelWriter
  /** First level of each part (bids, then asks, counted on) and, at the end, the level count. */
  private parts: number[] = []
  /**
   * The last delta up to its first level: the next one differs in some last digits only. Empty
   * until there was one.
   */
  private template: Uint8Array = new Uint8Array(0)
  private templateEpoch = -1
  private readonly seq: PatchedNumber = new PatchedNumber()
  private readonly nonce: PatchedNumber = new PatchedNumber()
  private readonly timestamp: PatchedNumber = new PatchedNumber()
  private readonly received: PatchedNumber = new PatchedNumber()
  private readonly published: PatchedNumber = new PatchedNumber()

  /** `depth`: what snapshots claim until `claim` is called; 0 or Infinity: the whole book. */
  constructor(
    exchange: string,
    symbol: string,
    book: Book,
    proof: Proof,
    depth: number,
    slab: Slab,
  ) {
    this.book = book
    this.slab = slab
    const names = `"exchange":${JSON.stringify(exchange)},"symbol":${JSON.stringify(symbol)}`
    const head = (type: string) => text.encode(`{"v":1,"type":"${type}",${names},"epoch":`)
    this.snapshotHead = head('snapshot')
    this.deltaHead = head('delta')
    this.invalidHead = head('invalid')
    this.heartbeatHead = head('heartbeat')
    const full = depth === 0 || depth === Infinity
    this.levels = new LevelWriter(book, slab)
    this.proof = proof
    this.claimed = full ? 0 : depth
    this.snapshotTail = this.tail()
  }

  /** From now on snapshots claim so many levels a side to be the best ones; 0: all there are. */
  claim(depth: number): void {
    if (depth === this.claimed) return
    this.claimed = depth
    this.snapshotTail = this.tail()
  }

  private tail(): Uint8Array {
    const depth = this.claimed === 0 ? '' : `,"depth":${this.claimed}`
    return text.encode(`,"proof":"${this.proof}"${depth}`)
  }

  /** The whole view in one event. */
  snapshot(epoch: number, seq: number, stamp: Stamp, publishedUs: number): void {
    this.parts = [0, this.levels.count()]
    this.snapshotPart(0, 1, epoch, seq, stamp, publishedUs)
  }

  /**
   * How many events of at most `maxBytes` the view needs. Call it before the `snapshotPart`s; it
   * overwrites the slab. A level alone is never split, however long its digits are.
   */
  partsNeeded(maxBytes: number): number {
    const room = maxBytes - this.snapshotHead.length - this.snapshotTail.length - FIELDS_MAX
    this.parts = this.levels.parts(room)
    return this.parts.length - 1
  }

  /** Part `part` of the `parts` that `partsNeeded` just told; the book must not have changed. */
  snapshotPart(
    part: number,
    parts: number,
    epoch: number,
    seq: number,
    stamp: Stamp,
    publishedUs: number,
  ): void {
    if (parts !== this.parts.length - 1) {
      throw new Error(`snapshotPart of ${parts} parts; partsNeeded said ${this.parts.length - 1}`)
    }
    const slab = this.slab
    let at = this.begin(this.snapshotHead, epoch, seq, stamp, publishedUs)
    at = writeBytes(slab.bytes, at, this.snapshotTail)
    if (parts > 1) at = writeAscii(slab.bytes, at, `,"part":${part},"parts":${parts}`)
    const bidCount = this.levels.bidCount()
    const from = this.parts[part]
    const to = this.parts[part + 1]
    at = writeBytes(slab.bytes, at, BIDS)
    at = this.levels.view(at, Math.min(from, bidCount), Math.min(to, bidCount))
    at = writeBytes(slab.bytes, at, ASKS)
    at = this.levels.view(at, Math.max(from, bidCount), Math.max(to, bidCount))
    slab.bytes[at] = CLOSE
    slab.bytes[at + 1] = CLOSE_OBJECT
    slab.start = 0
    slab.end = at + 2
  }

  /** `book.difference`. */
  delta(epoch: number, seq: number, stamp: Stamp, publishedUs: number): void {
    const slab = this.slab
    const book = this.book
    const bids = book.bids.difference
    const asks = book.asks.difference
    let at = this.template.length
    const seqField = this.seq
    const nonceField = this.nonce
    const timestampField = this.timestamp
    const receivedField = this.received
    const publishedField = this.published
    const nonce = stamp.nonce
    const timestampMs = stamp.timestampMs
    const receivedUs = stamp.receivedUs
    if (
      epoch === this.templateEpoch && stamp.nonceText === undefined &&
      seq >= seqField.min && seq < seqField.limit &&
      nonce >= nonceField.min && nonce < nonceField.limit &&
      timestampMs >= timestampField.min && timestampMs < timestampField.limit &&
      receivedUs >= receivedField.min && receivedUs < receivedField.limit &&
      publishedUs >= publishedField.min && publishedUs < publishedField.limit
    ) {
      const template = this.template
      // A run of events of one symbol leaves all but the last digits where they stand.
      if (slab.beginsWith !== template) {
        slab.ensure(at)
        slab.bytes.set(template)
        slab.beginsWith = template
      }
      const bytes = slab.bytes
      patch(bytes, seqField, seq)
      patch(bytes, nonceField, nonce)
      patch(bytes, timestampField, timestampMs)
      patch(bytes, receivedField, receivedUs)
      patch(bytes, publishedField, publishedUs)
    } else {
      at = this.begin(this.deltaHead, epoch, seq, stamp, publishedUs)
      at = writeBytes(slab.bytes, at, BIDS)
      // A sequence in text is not patched: the next event is written whole again.
      this.templateEpoch = stamp.nonceText === undefined ? epoch : -1
      this.template = slab.beginsWith = slab.bytes.slice(0, at)
    }
    at = this.levels.write(at, bids.price, bids.size, bids.count)
    at = writeBytes(slab.bytes, at, ASKS)
    at = this.levels.write(at, asks.price, asks.size, asks.count)
    const bytes = slab.bytes
    bytes[at] = CLOSE
    bytes[at + 1] = CLOSE_OBJECT
    slab.start = 0
    slab.end = at + 2
  }

  /** `seq` is the event's own: one more than the last delta's. */
  invalid(
    epoch: number,
    seq: number,
    reason: InvalidReason,
    receivedUs: number,
    publishedUs: number,
  ): void {
    this.short(this.invalidHead, epoch, seq, REASON, reason, receivedUs, publishedUs)
  }

  /**
   * `seq` repeats the last event's. `lastUs`: when the exchange spoke of the symbol last, or proved
   * its stream, in microseconds since 1970; 0: it never did.
   */
  heartbeat(
    epoch: number,
    seq: number,
    state: 'live' | 'invalid',
    lastUs: number,
    receivedUs: number,
    publishedUs: number,
  ): void {
    this.short(this.heartbeatHead, epoch, seq, STATE, state, receivedUs, publishedUs, lastUs)
  }

  /** Writes everything up to the levels or the proof, with room for what follows; ends the template. */
  private begin(
    head: Uint8Array,
    epoch: number,
    seq: number,
    stamp: Stamp,
    publishedUs: number,
  ): number {
    const nonceText = stamp.nonceText
    const needed = head.length + this.snapshotTail.length + FIELDS_MAX
    const slab = this.slab
    slab.ensure(nonceText === undefined ? needed : needed + nonceText.length)
    const bytes = slab.bytes
    // The fields below are about to tell of these bytes instead.
    this.templateEpoch = -1
    slab.beginsWith = undefined
    bytes.set(head)
    let at = writeInteger(bytes, head.length, epoch)
    at = writeBytes(bytes, at, SEQ)
    let start = at
    at = writeInteger(bytes, at, seq)
    this.seq.set(seq, start, at)
    if (nonceText !== undefined) {
      at = writeBytes(bytes, at, NONCE)
      bytes[at] = QUOTE
      at = writeAscii(bytes, at + 1, nonceText)
      bytes[at++] = QUOTE
    } else if (stamp.nonce >= 0) {
      at = writeBytes(bytes, at, NONCE)
      start = at
      at = writeInteger(bytes, at, stamp.nonce)
    }
    this.nonce.set(stamp.nonce, start, at)
    at = writeBytes(bytes, at, TIMESTAMP)
    start = at
    if (stamp.timestampMs >= 0) at = writeInteger(bytes, at, stamp.timestampMs)
    else at = writeBytes(bytes, at, NULL)
    this.timestamp.set(stamp.timestampMs, start, at)
    at = writeBytes(bytes, at, RECEIVED)
    start = at
    at = writeInteger(bytes, at, stamp.receivedUs)
    this.received.set(stamp.receivedUs, start, at)
    at = writeBytes(bytes, at, PUBLISHED)
    start = at
    at = writeInteger(bytes, at, publishedUs)
    this.published.set(publishedUs, start, at)
    return at
  }

  private short(
    head: Uint8Array,
    epoch: number,
    seq: number,
    name: Uint8Array,
    value: string,
    receivedUs: number,
    publishedUs: number,
    lastUs = 0,
  ): void {
    const slab = this.slab
    slab.ensure(head.length + FIELDS_MAX)
    const bytes = slab.bytes
    slab.beginsWith = undefined
    bytes.set(head)
    let at = writeInteger(bytes, head.length, epoch)
    at = writeBytes(bytes, at, SEQ)
    at = writeInteger(bytes, at, seq)
    at = writeBytes(bytes, at, name)
    at = writeAscii(bytes, at, value)
    bytes[at++] = QUOTE
    at = writeBytes(bytes, at, RECEIVED)
    at = writeInteger(bytes, at, receivedUs)
    at = writeBytes(bytes, at, PUBLISHED)
    at = writeInteger(bytes, at, publishedUs)
    if (lastUs > 0) {
      at = writeBytes(bytes, at, LAST)
      at = writeInteger(bytes, at, lastUs)
    }
    bytes[at++] = CLOSE_OBJECT
    slab.start = 0
    slab.end = at
  }
}
