/** The symbols of one socket: routes what its session says, and mends what is lost. */
import type { LevelChanges } from '../core/changes.ts'
import type { Environment, Timer } from '../core/environment.ts'
import { ObfeedError } from '../core/errors.ts'
import type { InvalidReason } from '../core/event.ts'
import type { PlannedSymbol } from '../core/instrument.ts'
import type { Adapter, BookDepth, Session, SessionStats } from '../exchanges/adapter.ts'
import type { Connection, ConnectionOwner, LossReason } from './connection.ts'
import { GroupOutput, type OutputReceiver } from './group-output.ts'
import { Handover, HANDOVER_WITHIN_MS } from './handover.ts'
import type { SnapshotQueue } from './snapshots.ts'
import type { SymbolStream } from './stream.ts'
import { MISSES_PER_SOCKET, SNAPSHOT_WITHIN_MS, SymbolWatch } from './watch.ts'

/** Counted over this long; beyond the limits the socket is replaced. */
const WINDOW_MS = 60_000
const GAPS_PER_WINDOW = 3
const RESYNCS_PER_WINDOW_MIN = 10
/** Without a batched resync, more symbols than this are mended faster by a new socket. */
const SINGLE_RESYNCS_MAX = 8
/** A newer snapshot for a book of which less and less is known: not sooner than this. */
const REFRESH_MS = 15_000
/** It comes when nobody waits for a first one. */
const REFRESH_PRIORITY = 1_000_000
/** A handover that failed is tried again this late. */
const HANDOVER_AGAIN_MS = 5 * 60_000

export type Notice = (level: 'warn' | 'info' | 'debug', message: string) => void

/** What a group needs of its feed. */
export interface GroupContext {
  readonly adapter: Adapter
  /** Levels a side that were asked for; 0 = full. */
  readonly wantedDepth: number
  readonly depth: BookDepth
  /** A socket slot for these symbols, not started yet. */
  connect(symbols: readonly PlannedSymbol[], owner: ConnectionOwner): Connection
  readonly environment: Environment
  readonly snapshots: SnapshotQueue
  readonly notice: Notice
  readonly onFatal: (error: ObfeedError) => void
}

/** One per plan connection, for as long as the feed lives; sockets come and go beneath it. */
export class SymbolGroup implements ConnectionOwner, OutputReceiver {
  /** Sockets opened again after a loss, by reason. */
  readonly reconnects: Record<string, number> = {}
  readonly streams: readonly SymbolStream[]
  readonly #name: string
  readonly #symbols: readonly PlannedSymbol[]
  readonly #context: GroupContext
  readonly #watches: SymbolWatch[]
  #connection: Connection
  #output: GroupOutput | undefined
  #session: Session | undefined
  #handover: Handover | undefined
  readonly #refreshedMs: Float64Array
  #framesPast = 0
  #bytesPast = 0
  /** Counters of sessions that are gone. */
  readonly #past: SessionStats = { scannerFallbacks: 0, unknownFrames: 0, duplicates: 0 }
  #lossReason: LossReason | undefined
  #flushTimer: Timer | undefined
  /** Monotonic ms of recent losses of everything on the socket, and of single resyncs. */
  #gaps: number[] = []
  #resyncs: number[] = []
  /** The next resyncs mend a gap that is counted already. */
  #gapPending = false
  #proven = false
  #lastSnapshotMs = 0
  #deaf = false

  constructor(
    name: string,
    symbols: readonly PlannedSymbol[],
    streams: readonly SymbolStream[],
    context: GroupContext,
  ) {
    this.#name = name
    this.#symbols = symbols
    this.streams = streams
    this.#context = context
    this.#watches = symbols.map(() => new SymbolWatch())
    this.#refreshedMs = new Float64Array(symbols.length).fill(-Infinity)
    this.#connection = context.connect(symbols, this)
  }

  start(): void {
    this.#connection.start()
  }

  /** Adds this group's sockets, those of the past too, to the counters of the feed. */
  addSocketStats(total: { frames: number; bytes: number; connectionsOpen: number }): void {
    total.frames += this.#framesPast
    total.bytes += this.#bytesPast
    for (const connection of this.#sockets()) {
      total.frames += connection.frames
      total.bytes += connection.bytes
    }
    if (this.#connection.state === 'open') total.connectionsOpen++
  }

  /** The live session's counters added to those of its predecessors. */
  addSessionStats(total: SessionStats): void {
    add(total, this.#past)
    if (this.#session !== undefined) add(total, this.#session.stats)
  }

  stop(): void {
    for (const connection of this.#sockets()) connection.stop()
    this.#handover?.output?.cut()
    this.#handover = undefined
    this.#disconnect()
  }

  /** Pauses and resumes the sockets; while they are paused, silence means nothing. */
  setDeaf(deaf: boolean): void {
    this.#deaf = deaf
    for (const connection of this.#sockets()) {
      if (deaf) connection.pause()
      else connection.resume()
    }
    if (!deaf) this.#listened(this.#context.environment.monotonicMs())
  }

  opened(): Session {
    const { adapter, environment } = this.#context
    if (this.#lossReason !== undefined) {
      this.reconnects[this.#lossReason] = (this.reconnects[this.#lossReason] ?? 0) + 1
      this.#lossReason = undefined
    }
    this.#proven = false
    this.#gapPending = false
    this.#gaps = []
    this.#resyncs = []
    const now = environment.monotonicMs()
    this.#lastSnapshotMs = now
    for (const watch of this.#watches) watch.expect(now)
    for (const stream of this.streams) stream.syncing()
    this.#output = new GroupOutput(this, this.#connection)
    this.#session = adapter.open(this.#symbols, this.#output, this.#context.wantedDepth)
    this.#output.session = this.#session
    this.#context.notice('info', `${this.#name}: connected, ${this.#symbols.length} symbols`)
    return this.#session
  }

  lost(reason: LossReason, detail: string, opened: boolean, retryMs: number): void {
    const next = this.#handover
    if (opened && next?.session !== undefined) {
      // The exchange was faster; whatever the next socket has is better than a new one.
      for (let index = 0; index < this.streams.length; index++) {
        if (next.carries[index] === 0) this.streams[index].suspect('disconnect')
      }
      next.takeAll()
      this.#finishHandover(next, `${reason}: ${detail}`)
      return
    }
    if (next !== undefined) this.#abandonHandover(next)
    this.#disconnect()
    if (opened) {
      this.#lossReason = reason
      for (const stream of this.streams) stream.suspect('disconnect')
    }
    for (const watch of this.#watches) watch.idle()
    const what = opened ? 'connection lost' : 'cannot connect'
    const seconds = (retryMs / 1000).toFixed(1)
    this.#context.notice(
      'warn',
      `${this.#name}: ${what} (${reason}: ${detail}), again in ${seconds} s`,
    )
  }

  /** Deadlines, rhythms, planned resyncs; call several times per second. */
  tick(nowMs: number, lateMs: number): void {
    for (const socket of this.#sockets()) socket.tick(nowMs)
    const connection = this.#connection
    if (connection.state !== 'open' || this.#deaf) return
    if (lateMs > 0) this.#listened(nowMs)
    if (this.#handover !== undefined) this.#tickHandover(this.#handover, nowMs)
    // Its session may be another one now.
    if (this.#connection !== connection) return
    const watches = this.#watches
    let due = false
    for (let index = 0; index < watches.length; index++) {
      const watch = watches[index]
      switch (watch.due(nowMs, this.streams[index].messages)) {
        case 'resync':
          due = true
          break
        case 'overdue':
          this.#overdue(index, nowMs)
          break
        case 'stale':
          this.#stale(index, nowMs)
          break
        case 'nothing':
          if (this.streams[index].isEroding) this.#refresh(index, nowMs)
          break
      }
      // Some remedies replace the socket.
      if (connection.state !== 'open') return
    }
    if (due) this.#flush()
  }

  // ---- from the session, through the output of the socket that is open ----

  snapshot(index: number, changes: LevelChanges): void {
    const stream = this.streams[index]
    const watch = this.#watches[index]
    const before = watch.silenceSuspected ? stream.viewText() : undefined
    if (!stream.snapshot(changes)) {
      this.#bookLost(index)
      return
    }
    const now = this.#context.environment.monotonicMs()
    this.#lastSnapshotMs = now
    watch.live(now, stream.messages, before !== undefined && before === stream.viewText())
    stream.stats.stale = false
    if (!this.#proven) {
      this.#proven = true
      this.#connection.proven()
    }
  }

  delta(index: number, changes: LevelChanges): void {
    if (!this.streams[index].delta(changes)) this.#bookLost(index)
  }

  refreshed(index: number, changes: LevelChanges): void {
    if (!this.streams[index].replace(changes)) this.#bookLost(index)
  }

  suspect(index: number, reason: InvalidReason, detail: string): void {
    const { adapter, environment } = this.#context
    const now = environment.monotonicMs()
    const random = environment.random()
    if (reason !== 'gap' || adapter.protocol.lossScope !== 'connection') {
      this.#lose(index, reason, now, random)
      this.#notice(index, `${reason} (${detail}), resynchronising`)
      return
    }
    // The session may say so once for each symbol: only the first finds unplanned ones.
    if (this.#watches.some((watch) => watch.resyncAtMs === Infinity)) {
      this.#gapPending = true
      this.#gaps = recent(this.#gaps, now)
      this.#gaps.push(now)
      this.#context.notice('warn', `${this.#name}: gap (${detail}), resynchronising its symbols`)
    }
    // One delay for all keeps them in one request.
    for (let each = 0; each < this.streams.length; each++) this.#lose(each, reason, now, random)
    if (this.#gaps.length >= GAPS_PER_WINDOW) {
      this.#connection.reopen('resync', `${this.#gaps.length} gaps within a minute`)
    }
  }

  requestSnapshot(receiver: GroupOutput, index: number, url: string, weight: number): void {
    // The map names the important ones first.
    const isUrgent = this.streams[index].state !== 'live'
    const priority = index + (isUrgent ? 0 : REFRESH_PRIORITY)
    this.#context.snapshots.request(receiver, index, { url, weight, priority, isUrgent })
  }

  retire(detail: string): void {
    this.retiring(detail)
  }

  retiring(detail: string): void {
    if (this.#handover !== undefined || this.#connection.state !== 'open') return
    this.#context.notice('info', `${this.#name}: opening the next socket (${detail})`)
    const { adapter, environment, depth, wantedDepth } = this.#context
    const handover: Handover = new Handover({
      adapter,
      environment,
      symbols: this.#symbols,
      streams: this.streams,
      depth,
      open: () => {
        const output = new GroupOutput(this, handover.connection)
        const session = adapter.open(this.#symbols, output, wantedDepth)
        output.session = session
        return { session, output }
      },
      adopt: (index, book) => {
        if (this.streams[index].state === 'live') this.refreshed(index, book)
        else this.snapshot(index, book)
      },
      resync: (index) => {
        this.#watches[index].expect(environment.monotonicMs())
        this.streams[index].syncing()
        handover.session?.resync(index)
      },
      lost: (carried) => {
        for (const index of carried) this.#lose(index, 'disconnect', environment.monotonicMs())
      },
    })
    handover.attach(this.#context.connect(this.#symbols, handover))
    this.#handover = handover
    if (this.#output !== undefined) this.#output.leaving = handover
    handover.connection.start()
  }

  fail(error: ObfeedError): void {
    if (error.scope === 'symbol') {
      const index = this.#symbols.findIndex((symbol) => symbol.symbol === error.symbol)
      if (index >= 0) {
        this.reject(index, error.message, error.retryAfterMs ?? 0)
        return
      }
    } else if (error.scope !== 'connection') {
      this.#context.onFatal(error)
      return
    }
    this.#connection.reopen('failed', error.message, error.retryAfterMs ?? 0)
  }

  /** The exchange does not serve this symbol: it is asked for again late, the others go on. */
  reject(index: number, message: string, retryAfterMs: number): void {
    const watch = this.#watches[index]
    const now = this.#context.environment.monotonicMs()
    this.streams[index].suspect('delisted')
    watch.reject(now, retryAfterMs)
    const seconds = Math.round((watch.resyncAtMs - now) / 1000)
    this.#notice(index, `not served (${message}), asking again in ${seconds} s`)
  }

  // ---- planned replacement of the socket ----

  #tickHandover(handover: Handover, nowMs: number): void {
    if (handover.tick(nowMs)) {
      this.#finishHandover(handover, 'planned')
    } else if (nowMs - handover.startedMs > HANDOVER_WITHIN_MS) {
      this.#abandonHandover(handover)
      this.#connection.retireIn(HANDOVER_AGAIN_MS)
      this.#context.notice('warn', `${this.#name}: the next socket did not become live in time`)
    }
  }

  /** The next socket is the socket now. */
  #finishHandover(handover: Handover, detail: string): void {
    const old = this.#connection
    old.stop()
    this.#framesPast += old.frames
    this.#bytesPast += old.bytes
    this.#disconnect()
    this.#handover = undefined
    this.#connection = handover.connection
    this.#session = handover.session
    this.#output = handover.output
    if (this.#output !== undefined) this.#output.joining = undefined
    this.#connection.handTo(this)
    this.#connection.proven()
    this.#gaps = []
    this.#resyncs = []
    this.reconnects['lifetime'] = (this.reconnects['lifetime'] ?? 0) + 1
    this.#context.notice('info', `${this.#name}: replaced (${detail})`)
  }

  /** The old socket goes on with everything. */
  #abandonHandover(handover: Handover): void {
    handover.connection.stop()
    this.#framesPast += handover.connection.frames
    this.#bytesPast += handover.connection.bytes
    this.#handover = undefined
    if (this.#output !== undefined) this.#output.leaving = undefined
    if (handover.output !== undefined) this.#context.snapshots.cancel(handover.output)
    handover.lost()
  }

  #sockets(): readonly Connection[] {
    const next = this.#handover?.connection
    return next === undefined ? [this.#connection] : [this.#connection, next]
  }

  /** The session of the socket that carries the symbol. */
  #sessionOf(index: number): Session | undefined {
    const next = this.#handover
    return next?.carries[index] === 1 ? next.session : this.#session
  }

  // ---- remedies ----

  #refresh(index: number, nowMs: number): void {
    if (nowMs - this.#refreshedMs[index] < REFRESH_MS) return
    this.#refreshedMs[index] = nowMs
    this.#sessionOf(index)?.refresh?.(index)
  }

  #lose(
    index: number,
    reason: InvalidReason,
    nowMs: number,
    random = this.#context.environment.random(),
  ): void {
    this.streams[index].suspect(reason)
    const watch = this.#watches[index]
    watch.lost(nowMs, random)
    if (watch.resyncAtMs <= nowMs) this.#flushSoon()
  }

  /** The stream found its book wrong and said so. */
  #bookLost(index: number): void {
    const reason = this.streams[index].stats.reason ?? 'crossed'
    this.#lose(index, reason, this.#context.environment.monotonicMs())
    this.#notice(index, `${reason}: the book cannot be right, resynchronising`)
  }

  #stale(index: number, nowMs: number): void {
    const watch = this.#watches[index]
    const seconds = Math.round(watch.staleAfterMs / 1000)
    watch.suspectSilence(nowMs)
    this.streams[index].stats.stale = true
    this.#lose(index, 'stale', nowMs)
    this.#notice(index, `silent for more than ${seconds} s, resynchronising`)
  }

  /** A snapshot that was asked for did not come. */
  #overdue(index: number, nowMs: number): void {
    const watch = this.#watches[index]
    const output = this.#output
    // The request has not left, or answers are still coming in: that is not silence.
    const busy = this.#connection.queued > 0 ||
      nowMs - this.#lastSnapshotMs < SNAPSHOT_WITHIN_MS / 2 ||
      (output !== undefined && this.#context.snapshots.pending(output, index))
    if (busy) {
      watch.postpone(nowMs)
      return
    }
    watch.misses++
    if (watch.misses < MISSES_PER_SOCKET) {
      this.#lose(index, this.streams[index].stats.reason ?? 'gap', nowMs)
      this.#notice(index, 'no snapshot in time, asking again')
      return
    }
    if (watch.hopeless && this.#proven) {
      // A new socket was no help: the others on it must not pay again.
      this.reject(index, 'no snapshot, also on a new socket', 0)
      return
    }
    for (const each of this.#watches) each.hopeless ||= each.misses > 0
    this.#connection.reopen('resync', `no snapshot of ${this.#symbols[index].symbol}`)
  }

  /** After the running frame: a session is never called from inside its own output. */
  #flushSoon(): void {
    this.#flushTimer ??= this.#context.environment.setTimer(0, () => {
      this.#flushTimer = undefined
      this.#flush()
    })
  }

  /** Asks for every book that is due, in one go. */
  #flush(): void {
    const connection = this.#connection
    const session = this.#session
    if (session === undefined || connection.state !== 'open') return
    const now = this.#context.environment.monotonicMs()
    this.#resyncs = recent(this.#resyncs, now)
    const due: number[] = []
    for (let index = 0; index < this.#watches.length; index++) {
      if (this.#watches[index].resyncAtMs <= now) due.push(index)
    }
    if (due.length === 0) return
    if (this.#gapPending) this.#gapPending = false
    else for (let n = 0; n < due.length; n++) this.#resyncs.push(now)
    const resyncsMax = Math.max(RESYNCS_PER_WINDOW_MIN, this.#watches.length)
    if (this.#resyncs.length > resyncsMax) {
      connection.reopen('resync', `${this.#resyncs.length} resyncs within a minute`)
    } else if (session.resyncAll === undefined && due.length > SINGLE_RESYNCS_MAX) {
      connection.reopen('resync', `${due.length} symbols to resynchronise`)
    } else {
      for (const index of due) {
        this.#watches[index].expect(now)
        this.streams[index].syncing()
      }
      const isSplit = this.#handover?.carries.includes(1) === true
      if (!isSplit && session.resyncAll !== undefined && due.length > 1) session.resyncAll(due)
      else for (const index of due) this.#sessionOf(index)?.resync(index)
    }
  }

  #listened(nowMs: number): void {
    for (const watch of this.#watches) watch.listened(nowMs)
  }

  #disconnect(): void {
    this.#flushTimer?.cancel()
    this.#flushTimer = undefined
    if (this.#session !== undefined) add(this.#past, this.#session.stats)
    this.#session = undefined
    if (this.#output !== undefined) {
      this.#output.cut()
      this.#context.snapshots.cancel(this.#output)
      this.#output = undefined
    }
  }

  #notice(index: number, text: string): void {
    this.#context.notice('warn', `${this.#symbols[index].symbol}: ${text}`)
  }
}

function add(total: SessionStats, more: SessionStats): void {
  total.scannerFallbacks += more.scannerFallbacks
  total.unknownFrames += more.unknownFrames
  total.duplicates += more.duplicates
}

function recent(times: readonly number[], nowMs: number): number[] {
  return times.filter((time) => nowMs - time < WINDOW_MS)
}
