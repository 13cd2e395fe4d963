/** The socket of a group and, while it is being replaced as planned, the next one beside it. */
import type { LevelChanges } from '../core/changes.ts'
import type { Environment } from '../core/environment.ts'
import type { PlannedSymbol } from '../core/instrument.ts'
import type { Adapter, BookDepth, Session, SessionStats } from '../exchanges/adapter.ts'
import type { Connection, ConnectionOwner, LossReason } from './connection.ts'
import { GroupOutput, type OutputReceiver } from './group-output.ts'
import { Handover } from './handover.ts'
import type { SnapshotQueue } from './snapshots.ts'
import type { SymbolStream } from './stream.ts'

/** A handover that failed is tried again this late. */
const HANDOVER_AGAIN_MS = 5 * 60_000

export type Notice = (level: 'warn' | 'info' | 'debug', message: string) => void

export interface SocketsContext {
  readonly adapter: Adapter
  /** Levels a side that were asked for; 0 = full. */
  readonly wantedDepth: number
  readonly depth: BookDepth
  /** A socket slot for these symbols, not started yet. */
  connect(symbols: readonly PlannedSymbol[], owner: ConnectionOwner): Connection
  readonly environment: Environment
  readonly snapshots: SnapshotQueue
  readonly notice: Notice
}

/** The group as its sockets see it. */
export interface SocketsOwner extends OutputReceiver {
  /** A socket is open in place of none: every book is to come. */
  opened(): void
  /** There is no socket; `opened` says whether there was one. */
  lost(opened: boolean): void
  /**
   * The next socket is the socket now; its books are where the old one's were. `isDoubtful`: the old
   * one was dead, nobody knows since when.
   */
  replaced(isDoubtful: boolean): void
  /** A book of the next socket takes the place of the one there is. */
  adopt(index: number, book: LevelChanges): void
  /** A snapshot of this symbol is about to be asked for. */
  awaits(index: number): void
  /** The socket that carried these symbols is gone, another one is open that has none of them. */
  carrierLost(indexes: readonly number[]): void
}

export class GroupSockets implements ConnectionOwner {
  /** Sockets opened again after a loss, by reason. */
  readonly reconnects: Record<string, number> = {}
  readonly #name: string
  readonly #symbols: readonly PlannedSymbol[]
  readonly #streams: readonly SymbolStream[]
  readonly #context: SocketsContext
  readonly #owner: SocketsOwner
  #connection: Connection
  #output: GroupOutput | undefined
  #session: Session | undefined
  #handover: Handover | undefined
  #lossReason: LossReason | undefined
  #isPaused = false
  /** Counters of sockets and sessions that are gone. */
  #framesPast = 0
  #bytesPast = 0
  readonly #statsPast: SessionStats = { scannerFallbacks: 0, unknownFrames: 0, duplicates: 0 }

  constructor(
    name: string,
    symbols: readonly PlannedSymbol[],
    streams: readonly SymbolStream[],
    context: SocketsContext,
    owner: SocketsOwner,
  ) {
    this.#name = name
    this.#symbols = symbols
    this.#streams = streams
    this.#context = context
    this.#owner = owner
    this.#connection = context.connect(symbols, this)
  }

  start(): void {
    this.#connection.start()
  }

  stop(): void {
    for (const connection of this.#connections()) connection.stop()
    this.#handover?.output?.cut()
    this.#handover = undefined
    this.#disconnect()
  }

  pause(): void {
    this.#isPaused = true
    for (const connection of this.#connections()) connection.pause()
  }

  resume(): void {
    this.#isPaused = false
    for (const connection of this.#connections()) connection.resume()
  }

  /** The socket in use; it changes when another one takes its place. */
  get connection(): Connection {
    return this.#connection
  }

  /** Of the socket in use; undefined while there is none. */
  get session(): Session | undefined {
    return this.#session
  }

  /** The session that carries the symbol, also while some are carried by the next socket already. */
  sessionOf(index: number): Session | undefined {
    const next = this.#handover
    return next?.carries[index] === 1 ? next.session : this.#session
  }

  /** Some symbols are carried by the next socket already, some not yet. */
  get isSplit(): boolean {
    return this.#handover?.carries.includes(1) === true
  }

  /** A REST snapshot of this symbol was asked for and is neither here nor refused. */
  isSnapshotPending(index: number): boolean {
    const next = this.#handover
    const output = next?.carries[index] === 1 ? next.output : this.#output
    return output !== undefined && this.#context.snapshots.pending(output, index)
  }

  /** Adds all sockets and sessions, those of the past too, to the counters of the feed. */
  addStats(total: SessionStats & { frames: number; bytes: number; connectionsOpen: number }): void {
    total.frames += this.#framesPast
    total.bytes += this.#bytesPast
    for (const connection of this.#connections()) {
      total.frames += connection.frames
      total.bytes += connection.bytes
    }
    if (this.#connection.state === 'open') total.connectionsOpen++
    add(total, this.#statsPast)
    if (this.#session !== undefined) add(total, this.#session.stats)
  }

  tick(nowMs: number): void {
    for (const connection of this.#connections()) connection.tick(nowMs)
  }

  /** Brings a planned replacement forward, when one is under way. */
  tickHandover(nowMs: number): void {
    const handover = this.#handover
    if (handover === undefined) return
    if (handover.tick(nowMs)) {
      this.#finish(handover, 'planned')
    } else if (handover.isOverdue(nowMs)) {
      if (this.isSplit) {
        // It has kept up until now, and carries the others.
        this.#takeRest(handover, 'planned, some books stayed behind')
        return
      }
      this.#abandon(handover)
      this.#connection.retireIn(HANDOVER_AGAIN_MS)
      this.#context.notice('warn', `${this.#name}: the next socket did not become live in time`)
    }
  }

  // ---- from the connection of the socket in use ----

  opened(): Session {
    if (this.#lossReason !== undefined) this.#count(this.#lossReason)
    this.#lossReason = undefined
    this.#owner.opened()
    const { session, output } = this.#open(this.#connection)
    this.#output = output
    this.#session = session
    this.#context.notice('info', `${this.#name}: connected, ${this.#symbols.length} symbols`)
    return session
  }

  lost(reason: LossReason, detail: string, opened: boolean, retryMs: number): void {
    const next = this.#handover
    if (opened && next?.session !== undefined) {
      // The exchange was faster; whatever the next socket has is better than a new one.
      this.#takeRest(next, `${reason}: ${detail}`, reason === 'stale')
      return
    }
    if (next !== undefined) this.#abandon(next)
    this.#disconnect()
    if (opened) this.#lossReason = reason
    this.#owner.lost(opened)
    const what = opened ? 'connection lost' : 'cannot connect'
    const seconds = (retryMs / 1000).toFixed(1)
    this.#context.notice(
      'warn',
      `${this.#name}: ${what} (${reason}: ${detail}), again in ${seconds} s`,
    )
  }

  retiring(detail: string): void {
    if (this.#handover !== undefined || this.#connection.state !== 'open') return
    this.#context.notice('info', `${this.#name}: opening the next socket (${detail})`)
    const owner = this.#owner
    const handover: Handover = new Handover({
      ...this.#context,
      symbols: this.#symbols,
      streams: this.#streams,
      open: () => this.#open(handover.connection),
      adopt: (index, book) => owner.adopt(index, book),
      resync: (index) => {
        owner.awaits(index)
        handover.session?.resync(index)
      },
      reject: (index, message) => owner.reject(index, message, 0),
      lost: (output, carried) => {
        if (output !== undefined) this.#context.snapshots.cancel(output)
        owner.carrierLost(carried)
      },
    })
    handover.attach(this.#context.connect(this.#symbols, handover))
    this.#handover = handover
    if (this.#output !== undefined) this.#output.leaving = handover
    if (this.#isPaused) handover.connection.pause()
    handover.connection.start()
  }

  #open(connection: Connection): { readonly session: Session; readonly output: GroupOutput } {
    const { adapter, wantedDepth } = this.#context
    const output = new GroupOutput(this.#owner, connection)
    const session = adapter.open(this.#symbols, output, wantedDepth)
    output.session = session
    for (const [index, { stats, reached }] of this.#streams.entries()) {
      if (stats.stale) session.fellSilent?.(index, reached.nonce)
    }
    return { session, output }
  }

  /** The next socket carries everything, at the price of a new run where it is not level. */
  #takeRest(next: Handover, detail: string, isDoubtful = false): void {
    for (let index = 0; index < this.#streams.length; index++) {
      if (next.carries[index] === 0) this.#streams[index].suspect('disconnect')
    }
    next.takeAll()
    this.#finish(next, detail, isDoubtful)
  }

  /** The next socket is the socket now. */
  #finish(handover: Handover, detail: string, isDoubtful = false): void {
    this.#retain(this.#connection)
    this.#disconnect()
    this.#handover = undefined
    this.#connection = handover.connection
    this.#session = handover.session
    this.#output = handover.output
    if (this.#output !== undefined) this.#output.joining = undefined
    this.#connection.handTo(this)
    this.#connection.proven()
    this.#count('lifetime')
    this.#owner.replaced(isDoubtful)
    this.#context.notice('info', `${this.#name}: replaced (${detail})`)
  }

  /** The old socket goes on with everything. */
  #abandon(handover: Handover): void {
    this.#retain(handover.connection)
    this.#handover = undefined
    if (this.#output !== undefined) this.#output.leaving = undefined
    handover.lost()
  }

  /** Ends a socket for good and keeps its counters. */
  #retain(connection: Connection): void {
    connection.stop()
    this.#framesPast += connection.frames
    this.#bytesPast += connection.bytes
  }

  #disconnect(): void {
    if (this.#session !== undefined) add(this.#statsPast, this.#session.stats)
    this.#session = undefined
    if (this.#output === undefined) return
    this.#output.cut()
    this.#context.snapshots.cancel(this.#output)
    this.#output = undefined
  }

  #count(reason: LossReason): void {
    this.reconnects[reason] = (this.reconnects[reason] ?? 0) + 1
  }

  #connections(): readonly Connection[] {
    const next = this.#handover?.connection
    return next === undefined ? [this.#connection] : [this.#connection, next]
  }
}

function add(total: SessionStats, more: SessionStats): void {
  total.scannerFallbacks += more.scannerFallbacks
  total.unknownFrames += more.unknownFrames
  total.duplicates += more.duplicates
}
