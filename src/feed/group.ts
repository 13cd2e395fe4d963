/** The symbols of one socket: routes what its session says, and mends what is lost. */
import type { LevelChanges } from '../core/changes.ts'
import type { Timer } from '../core/environment.ts'
import { ObfeedError } from '../core/errors.ts'
import type { InvalidReason } from '../core/event.ts'
import type { PlannedSymbol } from '../core/instrument.ts'
import type { SessionStats } from '../exchanges/adapter.ts'
import type { Address } from './address.ts'
import type { GroupOutput } from './group-output.ts'
import { isBehind } from './position.ts'
import { GroupSockets, type SocketsContext, type SocketsOwner } from './sockets.ts'
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
/**
 * Symbols that are slow anyway are asked for because of a silence only while fewer REST snapshots wait:
 * more could not be answered in time, and others need theirs.
 */
const SLOW_CHECKS_WAITING = 4
/** It comes when nobody waits for a first one. */
const REFRESH_PRIORITY = 1_000_000
/** What a group needs of its feed. */
export interface GroupContext extends SocketsContext {
  readonly onFatal: (error: ObfeedError) => void
  readonly address: Address
}

/** One per plan connection, for as long as the feed lives; sockets come and go beneath it. */
export class SymbolGroup implements SocketsOwner {
  readonly streams: readonly SymbolStream[]
  readonly #name: string
  readonly #symbols: readonly PlannedSymbol[]
  readonly #context: GroupContext
  /** The sequence of a symbol outlives a socket. */
  readonly #bySymbol: boolean
  readonly #watches: SymbolWatch[]
  readonly #sockets: GroupSockets
  readonly #refreshedMs: Float64Array
  #flushTimer: Timer | undefined
  /** Monotonic ms of recent losses of everything on the socket, and of single resyncs. */
  #gaps: number[] = []
  #resyncs: number[] = []
  /** The next resyncs mend a gap that is counted already. */
  #gapPending = false
  #proven = false
  #lastSnapshotMs = 0
  answerAgeMs = 0
  #deaf = false
  #deferredAtMs = -Infinity

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
    this.#bySymbol = context.adapter.protocol.lossScope === 'symbol'
    this.#watches = symbols.map(() => new SymbolWatch())
    this.#refreshedMs = new Float64Array(symbols.length).fill(-Infinity)
    this.#sockets = new GroupSockets(name, symbols, streams, context, this)
  }

  start(): void {
    this.#sockets.start()
  }

  stop(): void {
    this.#cancelFlush()
    this.#sockets.stop()
  }

  /** Pauses and resumes the sockets; while they are paused, silence means nothing. */
  setDeaf(deaf: boolean): void {
    this.#deaf = deaf
    if (deaf) this.#sockets.pause()
    else {
      this.#sockets.resume()
      this.#listened(this.#context.environment.monotonicMs())
    }
  }

  /** Sockets opened again after a loss, by reason. */
  get reconnects(): Readonly<Record<string, number>> {
    return this.#sockets.reconnects
  }

  /** Adds what its sockets and sessions have seen to the counters of the feed. */
  addStats(total: SessionStats & { frames: number; bytes: number; connectionsOpen: number }): void {
    this.#sockets.addStats(total)
  }

  /** Deadlines, rhythms, planned resyncs; call several times per second. */
  tick(nowMs: number, lateMs: number): void {
    this.#sockets.tick(nowMs)
    const { connection } = this.#sockets
    if (connection.state !== 'open' || this.#deaf) return
    if (lateMs > 0) this.#listened(nowMs)
    this.#sockets.tickHandover(nowMs)
    // Another one may have taken its place.
    if (this.#sockets.connection !== connection) return
    const watches = this.#watches
    const checks: number[] = []
    let slowChecks = this.#slowChecksMax
    let due = false
    for (let index = 0; index < watches.length; index++) {
      const watch = watches[index]
      const provenUs = this.#sockets.sessionOf(index)?.provenUs ?? 0
      if (provenUs > 0) this.streams[index].provenUs = provenUs
      switch (watch.due(nowMs, this.streams[index].messages)) {
        case 'resync':
          due = true
          break
        case 'overdue':
          this.#overdue(index, nowMs)
          break
        case 'stale':
          if (watch.isLively || slowChecks-- > 0) checks.push(index)
          break
        case 'nothing':
          if (this.streams[index].isEroding) this.#refresh(index, nowMs)
          break
      }
      // Some remedies replace the socket.
      if (connection.state !== 'open') return
    }
    if (due) this.#flush()
    if (checks.length > 0) this.#check(this.#withCompanions(checks, nowMs), nowMs)
  }

  /**
   * And those that would follow: a market that stands still is asked for in one go. Where each answer
   * costs weight, those that are slow anyway keep to their turn.
   */
  #withCompanions(checks: readonly number[], nowMs: number): readonly number[] {
    if (this.#sockets.session?.resyncAll === undefined) return checks
    const isCheap = this.#context.adapter.protocol.snapshot === 'inband'
    return [...this.#watches.keys()].filter((index) => {
      const watch = this.#watches[index]
      return checks.includes(index) ||
        (isCheap || watch.isLively) && watch.isNearlyStale(nowMs, this.streams[index].messages)
    })
  }

  // ---- from the sockets ----

  opened(): void {
    this.#proven = false
    this.#gapPending = false
    this.#gaps = []
    this.#resyncs = []
    const now = this.#context.environment.monotonicMs()
    this.#lastSnapshotMs = now
    for (const watch of this.#watches) watch.expect(now)
    for (const stream of this.streams) stream.syncing()
  }

  lost(opened: boolean): void {
    this.#cancelFlush()
    if (opened) { for (const stream of this.streams) stream.suspect('disconnect') }
    for (const watch of this.#watches) watch.idle()
  }

  replaced(isDoubtful: boolean): void {
    this.#cancelFlush()
    this.#gaps = []
    this.#resyncs = []
    // What the old socket was asked for does not come any more.
    for (const [index, watch] of this.#watches.entries()) {
      if (watch.isChecking) this.#sockets.sessionOf(index)?.resync(index)
    }
    if (!isDoubtful) return
    // What the next socket took over and has not spoken of since may be as old as the silence.
    const now = this.#context.environment.monotonicMs()
    for (const [index, { state, messages }] of this.streams.entries()) {
      if (state === 'live' && this.#watches[index].isSilent(now, messages)) {
        this.#lose(index, 'stale', now)
      }
    }
  }

  adopt(index: number, book: LevelChanges): void {
    const stream = this.streams[index]
    if (stream.state !== 'live') return this.snapshot(index, book)
    this.refreshed(index, book)
    const watch = this.#watches[index]
    // The other socket has brought what was asked for on this one.
    if (stream.state === 'live' && watch.isChecking) {
      watch.live(this.#context.environment.monotonicMs(), stream.messages, true)
      stream.stats.stale = false
    }
  }

  awaits(index: number): void {
    this.#watches[index].expect(this.#context.environment.monotonicMs())
    this.streams[index].syncing()
  }

  carrierLost(indexes: readonly number[]): void {
    const now = this.#context.environment.monotonicMs()
    for (const index of indexes) this.#lose(index, 'disconnect', now)
  }

  // ---- from the sessions, through the outputs of their sockets ----

  snapshot(index: number, changes: LevelChanges): void {
    const stream = this.streams[index]
    const watch = this.#watches[index]
    if (isBehind(changes, stream.reached, this.#bySymbol) && this.#isOutdated(index)) return
    const isCheck = watch.isChecking && stream.state === 'live'
    const verdict = isCheck ? stream.checked(changes) : stream.snapshot(changes) ? 'other' : 'wrong'
    if (verdict === 'wrong') {
      this.#bookLost(index)
      return
    }
    if (isCheck && verdict === 'other') this.#notice(index, 'its book had moved, a new run begins')
    const now = this.#context.environment.monotonicMs()
    this.#lastSnapshotMs = now
    watch.live(now - this.answerAgeMs, stream.messages, verdict === 'same')
    stream.stats.stale = false
    if (!this.#proven) {
      this.#proven = true
      this.#sockets.connection.proven()
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
      this.#sockets.connection.reopen('resync', `${this.#gaps.length} gaps within a minute`)
    }
  }

  requestSnapshot(
    receiver: GroupOutput,
    index: number,
    url: string,
    weight: number,
    delayMs: number,
  ): void {
    // The map names the important ones first.
    const isUrgent = this.streams[index].state !== 'live' || this.#watches[index].isChecking
    const priority = index + (isUrgent ? 0 : REFRESH_PRIORITY)
    this.#context.snapshots.request(receiver, index, { url, weight, priority, isUrgent, delayMs })
  }

  retire(detail: string): void {
    this.#sockets.retiring(detail)
  }

  fail(error: ObfeedError): void {
    if (error.scope === 'symbol') {
      const index = this.#symbols.findIndex((symbol) => symbol.symbol === error.symbol)
      if (index >= 0 && error.code === 'E_RATE_LIMITED') {
        this.#defer(index, error)
        return
      }
      if (index >= 0) {
        this.reject(index, error.message, error.retryAfterMs ?? 0)
        return
      }
    } else if (error.scope !== 'connection') {
      this.#context.onFatal(error)
      return
    }
    const forMs = error.retryAfterMs ?? 0
    // The limits of exchanges are those of an address.
    if (error.code === 'E_RATE_LIMITED' && forMs > 0) {
      this.#context.address.hold({ forMs, reason: error.message })
    }
    this.#sockets.connection.reopen('failed', error.message, forMs)
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

  // ---- remedies ----

  /** The exchange was asked too often for this one; the others go on. */
  #defer(index: number, error: ObfeedError): void {
    const watch = this.#watches[index]
    const stream = this.streams[index]
    const now = this.#context.environment.monotonicMs()
    const before = this.#deferredAtMs
    this.#deferredAtMs = now
    stream.suspect(stream.stats.reason ?? 'disconnect')
    watch.defer(now, error.retryAfterMs ?? 0)
    // One message may be about all of them.
    if (before === now) return
    const seconds = Math.round((watch.resyncAtMs - now) / 1000)
    this.#context.notice('warn', `${this.#name}: ${error.message}; asking again in ${seconds} s`)
  }

  #refresh(index: number, nowMs: number): void {
    if (nowMs - this.#refreshedMs[index] < REFRESH_MS) return
    this.#refreshedMs[index] = nowMs
    this.#sockets.sessionOf(index)?.refresh?.(index)
  }

  #lose(
    index: number,
    reason: InvalidReason,
    nowMs: number,
    random = this.#context.environment.random(),
  ): void {
    this.streams[index].suspect(reason)
    const watch = this.#watches[index]
    this.streams[index].stats.stale ||= reason === 'stale'
    watch.lost(nowMs, random)
    if (watch.resyncAtMs <= nowMs) this.#flushSoon()
  }

  /**
   * The exchange answered with a book from before what consumers have seen: a server that lags. True:
   * another one is asked for.
   */
  #isOutdated(index: number): boolean {
    const now = this.#context.environment.monotonicMs()
    if (!this.#watches[index].behind(now)) return false
    this.#lose(index, 'gap', now)
    this.#notice(index, 'a book from before the last one that was published, asking again')
    return true
  }

  /** The stream found its book wrong and said so. */
  #bookLost(index: number): void {
    const reason = this.streams[index].stats.reason ?? 'crossed'
    this.#lose(index, reason, this.#context.environment.monotonicMs())
    this.#notice(index, `${reason}: the book cannot be right, resynchronising`)
  }

  /** How many symbols that are slow anyway may be asked for now because of their silence. */
  get #slowChecksMax(): number {
    const { adapter, snapshots } = this.#context
    if (adapter.protocol.snapshot === 'rest') return SLOW_CHECKS_WAITING - snapshots.waiting
    return this.#sockets.connection.requestsQueued > 0 ? 0 : Infinity
  }

  /**
   * Too quiet for their rhythm: they are asked for, and count on until the answer is in, which is
   * when most of them prove right.
   */
  #check(indexes: readonly number[], nowMs: number): void {
    const { session } = this.#sockets
    if (session === undefined) return
    for (const index of indexes) {
      const watch = this.#watches[index]
      watch.check(nowMs)
      this.streams[index].stats.stale = true
      this.#context.notice('info', `${this.#symbols[index].symbol}: silent, asking for its book`)
    }
    if (!this.#sockets.isSplit && session.resyncAll !== undefined && indexes.length > 1) {
      session.resyncAll(indexes)
    } else for (const index of indexes) this.#sockets.sessionOf(index)?.resync(index)
  }

  /** A snapshot that was asked for did not come. */
  #overdue(index: number, nowMs: number): void {
    const watch = this.#watches[index]
    const { connection } = this.#sockets
    if (watch.isChecking && !watch.isLively && connection.requestsQueued > 0) {
      return watch.postpone(nowMs)
    }
    if (
      watch.isChecking && (connection.requestsQueued > 0 || this.#sockets.isSnapshotPending(index))
    ) {
      // It will be asked for all the same; only consumers must not wait for that.
      const stream = this.streams[index]
      stream.suspect('stale')
      stream.syncing()
      watch.checkLate(nowMs)
      this.#notice(index, 'silent, and its book could not be asked for in time')
      return
    }
    if (watch.isChecking) {
      this.#lose(index, 'stale', nowMs)
      this.#notice(index, 'silent, and its book did not come in time, resynchronising')
      return
    }
    // The request has not left, or answers are still coming in: that is not silence.
    const busy = connection.requestsQueued > 0 ||
      nowMs - this.#lastSnapshotMs < SNAPSHOT_WITHIN_MS / 2 ||
      this.#sockets.isSnapshotPending(index)
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
    connection.reopen('resync', `no snapshot of ${this.#symbols[index].symbol}`)
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
    const { connection, session } = this.#sockets
    if (session === undefined || connection.state !== 'open') return
    const now = this.#context.environment.monotonicMs()
    this.#resyncs = recent(this.#resyncs, now)
    const due: number[] = []
    for (let index = 0; index < this.#watches.length; index++) {
      if (this.#watches[index].resyncAtMs <= now) due.push(index)
    }
    if (due.length === 0) return
    if (this.#gapPending) this.#gapPending = false
    else for (const index of due) if (!this.#watches[index].isDeferred) this.#resyncs.push(now)
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
      if (!this.#sockets.isSplit && session.resyncAll !== undefined && due.length > 1) {
        session.resyncAll(due)
      } else for (const index of due) this.#sockets.sessionOf(index)?.resync(index)
    }
  }

  #listened(nowMs: number): void {
    for (const watch of this.#watches) watch.listened(nowMs)
  }

  #cancelFlush(): void {
    this.#flushTimer?.cancel()
    this.#flushTimer = undefined
  }

  #notice(index: number, text: string): void {
    this.#context.notice('warn', `${this.#symbols[index].symbol}: ${text}`)
  }
}

function recent(times: readonly number[], nowMs: number): number[] {
  return times.filter((time) => nowMs - time < WINDOW_MS)
}
