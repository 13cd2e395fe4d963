/** One symbol from exchange messages to sink records: its book, its epochs, what is said of it. */
import type { LevelChanges } from '../core/changes.ts'
import { Book } from '../core/book.ts'
import { EventEncoder } from '../core/encoder.ts'
import type { Environment } from '../core/environment.ts'
import { ObfeedError } from '../core/errors.ts'
import type { InvalidReason, Proof } from '../core/event.ts'
import type { PlannedSymbol } from '../core/instrument.ts'
import { Slab } from '../core/slab.ts'
import {
  type EventKind,
  KIND_DELTA,
  KIND_HEARTBEAT,
  KIND_INVALID,
  KIND_SNAPSHOT,
  type Sink,
} from '../sinks/sink.ts'
import { type MutablePosition, NOWHERE, type Position } from './position.ts'
import type { BookState, BookStats } from './stats.ts'

/** Beyond this depth a snapshot is measured before it is written, not afterwards. */
const ONE_PART_DEPTH = 5000
/** A stream that published nothing for this long says that it is still there. */
export const HEARTBEAT_MS = 5000

/** What all streams of a worker share: the way out. */
export class Outlet {
  readonly sink: Sink
  readonly environment: Environment
  readonly slab: Slab = new Slab()
  /** The sink is inside `push`: nothing may be pushed now. */
  pushing = false
  /** Streams that owe an `invalid` because the sink dropped something while inside `push`. */
  readonly owing: SymbolStream[] = []

  constructor(sink: Sink, environment: Environment) {
    this.sink = sink
    this.environment = environment
  }

  /** Gives the owed ones; after every push that found some. */
  settle(): void {
    for (let stream = this.owing.pop(); stream !== undefined; stream = this.owing.pop()) {
      stream.disown()
    }
  }
}

export interface StreamOptions {
  readonly exchange: string
  readonly instrument: PlannedSymbol
  /** Position in the worker's list: the sink's name for it. */
  readonly stream: number
  readonly proof: Proof
  /** Levels a side that are published; 0 = full. */
  readonly depth: number
  /** Levels a side that the book keeps; no fewer. */
  readonly kept: number
  /** A refresh may bring more levels than the first whole book had; else as many at best. */
  readonly deepens?: boolean
  readonly publish: 'delta' | 'book'
  readonly snapshotIntervalMs: number
  /** Every epoch is greater. */
  readonly epochFloor: number
  /** What was published of the symbol before this stream, by whomever; absent: unknown. */
  readonly published?: Position
}

/**
 * States: `syncing` (a snapshot was asked for) -> `live` (proven) -> `suspect` (lost, nothing asked
 * yet) -> `syncing`. Changes count only while live. An epoch runs from its first snapshot record to
 * its one `invalid` record, or until the next epoch takes over; the first one of a successor is an
 * `invalid` record and nothing else.
 */
export class SymbolStream {
  state: BookState = 'syncing'
  /** Exchange messages for this symbol since start, also those that changed nothing visible. */
  messages = 0
  /** The latest epoch; while none was published, the floor. */
  epoch: number
  seq = 0
  /** Between the sink's `dropped` and `writable`. */
  suspended = false
  /** When its session proved the stream last (see `Session.provenUs`); 0: it never did. */
  provenUs = 0
  readonly book: Book
  readonly stats: BookStats
  readonly #stream: number
  readonly #outlet: Outlet
  readonly #encoder: EventEncoder
  readonly #books: boolean
  /** Levels a side that were asked for; 0 = full. */
  readonly #depth: number
  /** Of the latest whole book. */
  #certainAtFirst = Infinity
  readonly #deepens: boolean
  readonly #mayNeedParts: boolean
  readonly #snapshotIntervalMs: number
  /** Highest epoch of another writer that has to be exceeded. */
  #rivalEpoch = -1
  /** An epoch runs: its snapshot was handed over, its end was not. */
  #running = false
  /** Some epoch was published: there is something to call invalid. */
  #hasPublished = false
  #records = 0
  #recordsAtTick = 0
  #lastRecordMs = 0
  #checkpointAtMs = Infinity
  /** Of the last exchange message, for records that repeat its state. */
  readonly #stamp: MutablePosition & { receivedUs: number } = { ...NOWHERE, receivedUs: 0 }
  /** Of the last book that consumers were told of, in whatever run. */
  readonly #published: MutablePosition

  constructor(options: StreamOptions, outlet: Outlet) {
    const { exchange, instrument, depth } = options
    const levels = depth === 0 ? Infinity : depth
    this.epoch = options.epochFloor
    this.#published = { ...(options.published ?? NOWHERE) }
    this.book = new Book(
      instrument.priceDecimals,
      instrument.sizeDecimals,
      levels,
      options.kept,
    )
    this.#depth = depth
    this.#deepens = options.deepens ?? true
    this.#stream = options.stream
    this.#outlet = outlet
    this.#encoder = new EventEncoder(
      exchange,
      instrument.symbol,
      this.book,
      options.proof,
      levels,
      outlet.slab,
    )
    this.#books = options.publish === 'book'
    this.#mayNeedParts = levels > ONE_PART_DEPTH
    this.#snapshotIntervalMs = options.snapshotIntervalMs
    this.stats = {
      symbol: instrument.symbol,
      partition: instrument.partition,
      state: 'syncing',
      stale: false,
      epoch: 0,
      seq: 0,
      updates: 0,
      resyncs: {},
      lastUpdateMs: 0,
      bidLevels: 0,
      askLevels: 0,
    }
  }

  /**
   * For the successor of a writer that ended without a word: consumers still take for valid what it
   * published last, so a new epoch takes that back. It holds nothing else: the first book begins
   * the next one. Call once, before everything else.
   */
  takeBack(reason: InvalidReason = 'disconnect'): void {
    this.#newEpoch()
    this.#hasPublished = true
    this.stats.reason = reason
    this.#pushInvalid(0, reason)
  }

  /**
   * Another writer publishes this symbol, under `epoch`, so consumers drop ours that are not higher.
   * A book that runs goes on above it at once; one that does not run begins above it.
   */
  outrank(epoch: number): void {
    this.#rivalEpoch = Math.max(this.#rivalEpoch, epoch)
    if (epoch < this.epoch || !this.#running || this.state !== 'live' || this.suspended) return
    this.#begin(this.#outlet.environment.nowUs())
  }

  /** Its market is not traded at present: consumers are told. */
  rest(): void {
    this.state = 'suspect'
    this.takeBack('delisted')
  }

  /** An exchange snapshot: a new epoch begins. False: it cannot be right, the book is lost. */
  snapshot(changes: LevelChanges): boolean {
    this.#take(changes)
    try {
      this.book.load(changes)
    } catch (error) {
      return this.#unusable(error)
    }
    if (!this.#isSound(changes)) return false
    this.#certainAtFirst = this.book.certainDepth
    this.state = 'live'
    if (!this.suspended) this.#begin(changes.receivedUs)
    return true
  }

  /**
   * The whole book, asked for because the live one was silent for long. 'same': it was right, its
   * run goes on; 'other': it was not, which is said, and a new run begins; 'wrong': this one cannot
   * be right, the book is lost.
   */
  checked(changes: LevelChanges): 'same' | 'other' | 'wrong' {
    this.#take(changes)
    try {
      this.book.replace(changes)
    } catch (error) {
      this.#unusable(error)
      return 'wrong'
    }
    if (!this.#isSound(changes)) return 'wrong'
    this.#certainAtFirst = this.book.certainDepth
    if (this.book.difference.isEmpty) {
      this.#publish(changes)
      this.#deepened()
      return 'same'
    }
    this.suspect('stale')
    this.state = 'live'
    if (!this.suspended) this.#begin(changes.receivedUs)
    return 'other'
  }

  /** One exchange message, whole. False: it left no right book, the book is lost. */
  delta(changes: LevelChanges): boolean {
    if (this.state !== 'live') return true
    this.#take(changes)
    try {
      this.book.apply(changes)
    } catch (error) {
      return this.#unusable(error)
    }
    return this.#changed(changes)
  }

  /**
   * The whole book anew, without a loss: what it changes in the view is published like any other
   * change. False: it cannot be right, the book is lost.
   */
  replace(changes: LevelChanges): boolean {
    if (this.state !== 'live') return true
    this.#take(changes)
    try {
      this.book.replace(changes)
    } catch (error) {
      return this.#unusable(error)
    }
    this.#certainAtFirst = this.book.certainDepth
    if (!this.#changed(changes)) return false
    this.#deepened()
    return true
  }

  #changed(changes: LevelChanges): boolean {
    if (!this.#isSound(changes)) return false
    this.#publish(changes)
    return true
  }

  /** Publishes the book's difference. */
  #publish(changes: LevelChanges): void {
    // While the sink has no room the book is kept current, silently.
    if (this.suspended) return
    const fallsShort = this.#fallsShort()
    if (this.book.difference.isEmpty && !fallsShort) return
    const seq = this.seq + 1
    if (fallsShort) {
      // Consumers take what is missing in the view for deleted: they must know in this very moment
      // that it is not, and hold nothing that is not certain.
      this.#claim(this.#claimable())
      this.#checkpointAtMs = Infinity
      this.#pushSnapshot(seq, changes.receivedUs)
    } else if (this.#books) {
      this.#pushSnapshot(seq, changes.receivedUs)
    } else {
      this.#encoder.delta(this.epoch, seq, this.#stamp, this.#outlet.environment.nowUs())
      // What no record can hold is said in the parts of a snapshot.
      if (this.#isTooLarge()) this.#pushSnapshot(seq, changes.receivedUs)
      else this.#push(KIND_DELTA, seq, Math.floor(changes.receivedUs / 1000))
    }
    this.stats.updates++
  }

  /** Says so, and why, when the book that a frame left behind cannot be the exchange's. */
  #isSound(changes: LevelChanges): boolean {
    if (this.book.isCrossed()) {
      this.suspect('crossed')
      return false
    }
    if (changes.check !== undefined && !changes.check.holds(this.book)) {
      this.suspect('checksum')
      return false
    }
    // A side of which nothing is known any more would look like one that is empty.
    if (this.book.certainDepth === 0) {
      this.suspect('gap')
      return false
    }
    return true
  }

  /**
   * The book is not proven any more. Says so at once, exactly once for the running epoch; nothing
   * when no epoch runs.
   */
  suspect(reason: InvalidReason): void {
    if (this.state === 'live') {
      this.stats.resyncs[reason] = (this.stats.resyncs[reason] ?? 0) + 1
    }
    this.state = 'suspect'
    this.stats.reason = reason
    this.#end(reason)
  }

  /** A fresh snapshot was asked for. */
  syncing(): void {
    this.state = 'syncing'
  }

  /** From the sink: events of this stream are lost. */
  dropped(): void {
    if (!this.suspended) {
      this.suspended = true
      this.stats.resyncs.overflow = (this.stats.resyncs.overflow ?? 0) + 1
    }
    if (this.#outlet.pushing) this.#outlet.owing.push(this)
    else this.disown()
  }

  /**
   * Says that what was published last is not to be used. Also for an epoch that has ended already:
   * its `invalid` may be among what was dropped, so it is said again with the same seq.
   */
  disown(): void {
    if (this.#running) this.#end('overflow')
    else if (this.#hasPublished) this.#pushInvalid(this.seq, 'overflow')
  }

  /** From the sink: there is room again. A proven book is published at once, under a new epoch. */
  writable(): void {
    if (!this.suspended) return
    this.suspended = false
    if (this.state === 'live') this.#begin(this.#outlet.environment.nowUs())
    // What was said while there was no room may be lost as well.
    else if (this.#hasPublished) this.#pushInvalid(this.seq, this.stats.reason ?? 'overflow')
  }

  /**
   * Heartbeat and checkpoint, when due; call several times per second. True: a checkpoint was
   * encoded, which is the expensive part; `mayCheckpoint` false puts it off.
   */
  tick(nowMs: number, mayCheckpoint: boolean): boolean {
    if (this.#records !== this.#recordsAtTick) {
      this.#recordsAtTick = this.#records
      this.#lastRecordMs = nowMs
    }
    if (this.suspended) return false
    if (this.#running) {
      if (this.#checkpointAtMs === Infinity) this.#planCheckpoint(nowMs, 0.5 + 0.5 * this.#random())
      if (mayCheckpoint && nowMs >= this.#checkpointAtMs) {
        this.#planCheckpoint(nowMs, 0.9 + 0.1 * this.#random())
        const claimable = this.#claimable()
        const isMore = claimable > this.book.depth
        if (isMore) {
          this.#claim(claimable)
          this.stats.updates++
        }
        // With more levels than consumers have it is no checkpoint.
        this.#pushSnapshot(isMore ? this.seq + 1 : this.seq, this.#outlet.environment.nowUs())
        return true
      }
    }
    if (this.#hasPublished && nowMs - this.#lastRecordMs >= HEARTBEAT_MS) {
      const nowUs = this.#outlet.environment.nowUs()
      const state = this.#running ? 'live' : 'invalid'
      const lastUs = Math.max(this.#stamp.receivedUs, this.provenUs)
      this.#encoder.heartbeat(this.epoch, this.seq, state, lastUs, nowUs, nowUs)
      this.#push(KIND_HEARTBEAT, this.seq, Math.floor(nowUs / 1000))
    }
    return false
  }

  /** Brings `stats` up to date. */
  refreshStats(): BookStats {
    const stats = this.stats
    // A book that nobody can see is not live for anyone.
    stats.state = this.suspended && this.state === 'live' ? 'suspect' : this.state
    if (this.suspended) stats.reason = 'overflow'
    else if (this.state === 'live') delete stats.reason
    stats.epoch = this.#hasPublished ? this.epoch : 0
    stats.seq = this.seq
    const { nonce, nonceText, timestampMs } = this.#published
    if (nonceText !== undefined) stats.nonce = nonceText
    else if (nonce >= 0) stats.nonce = nonce
    if (timestampMs >= 0) stats.timestampMs = timestampMs
    stats.lastUpdateMs = Math.floor(this.#stamp.receivedUs / 1000)
    stats.bidLevels = this.book.bidCount
    stats.askLevels = this.book.askCount
    return stats
  }

  /** Of the last exchange message; -1 = it had none. */
  get nonce(): number {
    return this.#stamp.nonce
  }

  /** Where the live book is, else what consumers were told last: no book may begin behind it. */
  get reached(): Position {
    return this.state === 'live' ? this.#stamp : this.#published
  }

  /** The view, which is what consumers were promised, has levels that are not certain. */
  #fallsShort(): boolean {
    return this.book.certainDepth < this.book.depth
  }

  /** Levels a side that can be promised for a while; Infinity: the whole book. */
  #claimable(): number {
    const certain = this.book.certainDepth
    const wanted = this.#depth === 0 ? Infinity : this.#depth
    // Once it falls short it will fall further: some room, so that not every level is announced.
    return certain < wanted ? Math.max(1, Math.floor(certain * 0.9)) : wanted
  }

  /** Snapshots promise so many levels a side, and nothing beyond them is published. */
  #claim(depth: number): void {
    this.book.see(depth)
    this.#encoder.claim(depth === Infinity ? 0 : depth)
  }

  /** More may be known now than consumers were promised: they get it with the next tick. */
  #deepened(): void {
    if (this.#running && this.#claimable() > this.book.depth) this.#checkpointAtMs = -Infinity
  }

  /** Half of the levels that were known beyond the view are gone: time for a newer snapshot. */
  get isEroding(): boolean {
    if (this.state !== 'live') return false
    const first = this.#certainAtFirst
    // Where there is no more to be had, what there was is held.
    const held = this.#deepens || first >= this.#depth ? this.#depth : first / 2
    return 2 * this.book.certainDepth < held + first
  }

  #random(): number {
    return this.#outlet.environment.random()
  }

  #planCheckpoint(nowMs: number, part: number): void {
    this.#checkpointAtMs = nowMs + this.#snapshotIntervalMs * part
  }

  #take(changes: LevelChanges): void {
    this.messages++
    const stamp = this.#stamp
    stamp.nonce = changes.nonce
    stamp.nonceText = changes.nonceText
    stamp.timestampMs = changes.timestampMs
    stamp.receivedUs = changes.receivedUs
  }

  /** The book could only have gone on by being wrong; anything else is a bug and stays thrown. */
  #unusable(error: unknown): false {
    if (!(error instanceof ObfeedError)) throw error
    this.suspect('gap')
    return false
  }

  /** A new epoch with the book as it stands. */
  #begin(atUs: number): void {
    this.#newEpoch()
    this.#running = true
    this.#hasPublished = true
    this.#checkpointAtMs = Infinity
    this.#claim(this.#claimable())
    this.#pushSnapshot(0, atUs)
    this.stats.updates++
  }

  /** Later than every other, also when the clock was set back. */
  #newEpoch(): void {
    const nowMs = Math.floor(this.#outlet.environment.nowUs() / 1000)
    this.epoch = Math.max(nowMs, this.epoch + 1, this.#rivalEpoch + 1)
    this.seq = 0
  }

  #end(reason: InvalidReason): void {
    if (!this.#running) return
    this.#running = false
    this.#pushInvalid(this.seq + 1, reason)
  }

  #pushInvalid(seq: number, reason: InvalidReason): void {
    const nowUs = this.#outlet.environment.nowUs()
    this.#encoder.invalid(this.epoch, seq, reason, nowUs, nowUs)
    this.#push(KIND_INVALID, seq, Math.floor(nowUs / 1000))
  }

  /** The whole view as `seq`; `atUs` becomes the record's time. */
  #pushSnapshot(seq: number, atUs: number): void {
    const encoder = this.#encoder
    const environment = this.#outlet.environment
    const timestampMs = Math.floor(atUs / 1000)
    if (!this.#mayNeedParts) {
      encoder.snapshot(this.epoch, seq, this.#stamp, environment.nowUs())
      if (!this.#isTooLarge()) {
        this.#push(KIND_SNAPSHOT, seq, timestampMs)
        return
      }
    }
    const parts = encoder.partsNeeded(this.#outlet.sink.recordBytesMax)
    for (let part = 0; part < parts; part++) {
      encoder.snapshotPart(part, parts, this.epoch, seq, this.#stamp, environment.nowUs())
      if (!this.#push(KIND_SNAPSHOT, seq, timestampMs)) return
    }
  }

  /** What was just written is more than the sink takes in one record. */
  #isTooLarge(): boolean {
    const { slab, sink } = this.#outlet
    return slab.end - slab.start > sink.recordBytesMax
  }

  /** Hands the slab over as `seq`. False: the stream is suspended now, its epoch has ended. */
  #push(kind: EventKind, seq: number, timestampMs: number): boolean {
    const outlet = this.#outlet
    const slab = outlet.slab
    outlet.pushing = true
    const taken = outlet.sink.push(
      this.#stream,
      kind,
      slab.bytes,
      slab.start,
      slab.end,
      timestampMs,
    )
    outlet.pushing = false
    this.#records++
    // Before settling: an `invalid` owed for this very push counts on from it.
    if (taken) this.seq = seq
    if (taken && (kind === KIND_DELTA || kind === KIND_SNAPSHOT)) {
      this.#published.nonce = this.#stamp.nonce
      this.#published.nonceText = this.#stamp.nonceText
      this.#published.timestampMs = this.#stamp.timestampMs
    }
    if (outlet.owing.length > 0) outlet.settle()
    if (!taken && !this.suspended && kind !== KIND_INVALID) this.dropped()
    return !this.suspended
  }
}
