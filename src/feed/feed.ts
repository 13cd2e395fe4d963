/** One worker's intake: sockets, sessions and streams of its share of the symbols, to one sink. */
import type { WorkerPlan } from '../config/plan.ts'
import { overrideEndpoint } from '../core/endpoint.ts'
import type { Environment, SocketEvents, Timer } from '../core/environment.ts'
import type { ObfeedError } from '../core/errors.ts'
import type { Instrument, PlannedSymbol } from '../core/instrument.ts'
import { type Adapter, depthOf, type SessionOutput } from '../exchanges/adapter.ts'
import type { Sink, SinkEvents } from '../sinks/sink.ts'
import { Address, type Hold } from './address.ts'
import { Budget } from './budget.ts'
import { Connection, type ConnectionOwner, type ConnectionTimings } from './connection.ts'
import { type GroupContext, SymbolGroup } from './group.ts'
import { NOWHERE, type Position } from './position.ts'
import { SnapshotQueue } from './snapshots.ts'
import type { FeedStats } from './stats.ts'
import { Outlet, SymbolStream } from './stream.ts'

export const TICK_MS = 100
/** A tick this late: the loop stood still, nobody listened meanwhile. */
const LATE_MS = 1000
/** Messages for humans per window; the rest is counted. */
const NOTICES_PER_WINDOW = 20
const NOTICE_WINDOW_MS = 10_000

export interface FeedOptions {
  readonly adapter: Adapter
  readonly plan: WorkerPlan
  /** Levels a side; 0 = full. */
  readonly depth: number
  readonly publish: 'delta' | 'book'
  readonly snapshotIntervalMs: number
  readonly wsUrl?: string
  readonly restUrl?: string
  /**
   * Every epoch is greater. Above 0: this worker replaces one that may have died without a word, so
   * its streams begin by calling invalid what they published before. 0: nothing was before.
   */
  readonly epochFloor: number
  /** By symbol, of what was published before, by whomever: epochs are greater. */
  readonly publishedEpochs?: ReadonlyMap<string, number>
  /** What was published of each symbol before, by whomever: no book begins behind it. */
  readonly published?: ReadonlyMap<string, Position>
  /** Absent: the product's own. */
  readonly timings?: ConnectionTimings
  /** Another worker was told so before this one began. */
  readonly held?: Hold
  /** The exchange told this address to ask for nothing for so long: the other workers must hear it. */
  onHeld?(hold: Hold): void
  /** The worker cannot go on. */
  onFatal(error: ObfeedError): void
  /** For humans; rate-limited, never per frame. */
  onNotice(level: 'warn' | 'info' | 'debug', message: string): void
}

export class Feed {
  /** Stream index = position; those that are not traded at present come last. */
  readonly streams: readonly PlannedSymbol[]
  readonly sinkEvents: SinkEvents
  readonly #environment: Environment
  readonly #options: FeedOptions
  readonly #address: Address
  readonly #snapshots: SnapshotQueue
  readonly #context: GroupContext
  readonly #outlet: Outlet
  readonly #groups: SymbolGroup[] = []
  /** Stream index by symbol, of those that are not traded at present. */
  readonly #dormant = new Map<string, number>()
  readonly #symbolStreams: SymbolStream[] = []
  readonly #stats: FeedStats
  readonly #checkpointsPerTick: number
  #nextStream = 0
  #timer: Timer | undefined
  #lastTickMs = 0
  #started = false
  #drained = false
  /** Since it was last told. */
  #droppedStreams = 0
  #droppedEvents = 0
  #noticeWindowMs = -Infinity
  #notices = 0

  /** @throws ObfeedError E_CONFIG when an endpoint override cannot be used. */
  constructor(options: FeedOptions, environment: Environment, sink: Sink) {
    const { adapter, plan } = options
    this.#options = options
    this.#environment = environment
    this.streams = [...plan.connections.flat(), ...plan.dormant ?? []]
    const { snapshotWeightPerMinute = Infinity } = adapter.limits
    this.#address = new Address(environment, (hold) => {
      this.#noticeHeld(hold)
      options.onHeld?.(hold)
    })
    if (options.held !== undefined) this.#address.join(options.held)
    this.#snapshots = new SnapshotQueue(environment, {
      restUrl: options.restUrl,
      weightPerMinute: snapshotWeightPerMinute * plan.budgetShare,
      address: this.#address,
      isOwnError: adapter.isOwnError,
    })
    // Two times what the interval asks for, so that a burst of dues is worked off.
    const perTick = (this.streams.length * TICK_MS) / options.snapshotIntervalMs
    this.#checkpointsPerTick = Math.max(1, Math.ceil(2 * perTick))
    const phase = (plan.id * plan.budgetShare) % 1
    const budget = new Budget(adapter.limits, plan.budgetShare, phase, environment, this.#address)
    this.#outlet = new Outlet(sink, environment)
    this.#context = {
      adapter,
      wantedDepth: options.depth,
      depth: depthOf(adapter, options.depth),
      connect: (symbols, owner) => this.#connect(symbols, owner, budget),
      environment,
      snapshots: this.#snapshots,
      address: this.#address,
      notice: (level, message) => this.#notice(level, message),
      onFatal: (error) => options.onFatal(error),
    }
    for (const symbols of plan.connections) {
      const first = this.#symbolStreams.length
      const streams = symbols.map((instrument, index) => this.#stream(instrument, first + index))
      this.#symbolStreams.push(...streams)
      this.#group(symbols, streams)
    }
    for (const instrument of plan.dormant ?? []) {
      this.#dormant.set(instrument.symbol, this.#symbolStreams.length)
      this.#symbolStreams.push(this.#stream(instrument, this.#symbolStreams.length))
    }
    this.sinkEvents = {
      dropped: (stream, events) => {
        this.#droppedStreams++
        this.#droppedEvents += events
        this.#symbolStreams[stream].dropped()
      },
      writable: (stream) => this.#symbolStreams[stream].writable(),
      pressure: (full) => this.#pressure(full),
      failed: (error) => options.onFatal(error),
    }
    this.#stats = {
      frames: 0,
      bytes: 0,
      scannerFallbacks: 0,
      unknownFrames: 0,
      duplicates: 0,
      connections: this.#groups.length,
      connectionsOpen: 0,
      reconnects: {},
      snapshotAnswers: this.#snapshots.answers,
      snapshotsWaiting: 0,
      held: '',
      heldMs: 0,
      epochMax: options.epochFloor,
      books: this.#symbolStreams.map((stream) => stream.stats),
    }
  }

  /** Opens the sockets at once; the sink was started with `streams` and `sinkEvents` before. */
  start(): void {
    if (this.#started) return
    this.#started = true
    // First of all: the exchange may be out of reach for long.
    if (this.#options.epochFloor > 0) {
      for (const stream of this.#symbolStreams) stream.takeBack()
    }
    for (const index of this.#dormant.values()) this.#symbolStreams[index].rest()
    this.#lastTickMs = this.#environment.monotonicMs()
    this.#arm()
    for (const group of this.#groups) group.start()
  }

  /**
   * Stops the intake, says `invalid: shutdown` for every running epoch and closes the sockets, all
   * before it returns; the caller then awaits the sink's flush.
   */
  drain(): void {
    if (this.#drained) return
    this.#drained = true
    this.#timer?.cancel()
    this.#timer = undefined
    for (const group of this.#groups) group.stop()
    this.#snapshots.stop()
    for (const stream of this.#symbolStreams) stream.suspect('shutdown')
  }

  /** Another writer publishes this stream's symbol under `epoch`: ours must be higher. */
  outrank(stream: number, epoch: number): void {
    if (!this.#drained) this.#symbolStreams[stream].outrank(epoch)
  }

  /** The latest epoch of a stream, or what its first one will exceed. */
  epochOf(stream: number): number {
    return this.#symbolStreams[stream].epoch
  }

  /** Symbols of the plan that were not traded are traded now: each gets a socket of its own. */
  wake(instruments: readonly PlannedSymbol[]): void {
    if (this.#drained) return
    for (const instrument of instruments) {
      const index = this.#dormant.get(instrument.symbol)
      if (index === undefined) continue
      this.#dormant.delete(instrument.symbol)
      // Its decimals may be others now.
      const stream = this.#stream(instrument, index, this.#symbolStreams[index].epoch)
      this.#symbolStreams[index] = stream
      this.#stats.books[index] = stream.stats
      this.#stats.connections++
      this.#notice('info', `${instrument.symbol}: traded again`)
      this.#group([instrument], [stream]).start()
    }
  }

  #stream(instrument: PlannedSymbol, index: number, epochFloor = 0): SymbolStream {
    const { adapter, published, publishedEpochs } = this.#options
    const { view, kept } = this.#context.depth
    return new SymbolStream({
      ...this.#options,
      depth: view,
      kept,
      deepens: adapter.protocol.snapshot === 'rest',
      exchange: adapter.exchange,
      instrument,
      stream: index,
      proof: adapter.protocol.loss,
      epochFloor: Math.max(
        epochFloor,
        this.#options.epochFloor,
        publishedEpochs?.get(instrument.symbol) ?? 0,
      ),
      published: published?.get(instrument.symbol) ?? NOWHERE,
    }, this.#outlet)
  }

  #group(symbols: readonly PlannedSymbol[], streams: readonly SymbolStream[]): SymbolGroup {
    const name = `connection ${this.#options.plan.id}.${this.#groups.length}`
    const group = new SymbolGroup(name, symbols, streams, this.#context)
    this.#groups.push(group)
    return group
  }

  /** Another worker was told to wait: this one asks for nothing so long either. */
  hold(hold: Hold): void {
    this.#address.join(hold)
  }

  /** Brought up to date by reading it; the same object every time. */
  get stats(): FeedStats {
    const stats = this.#stats
    stats.frames = 0
    stats.bytes = 0
    stats.scannerFallbacks = 0
    stats.unknownFrames = 0
    stats.duplicates = 0
    stats.connectionsOpen = 0
    stats.snapshotsWaiting = this.#snapshots.waiting
    const { held } = this.#address
    stats.held = held?.reason ?? ''
    stats.heldMs = Math.ceil(held?.forMs ?? 0)
    for (const reason of Object.keys(stats.reconnects)) stats.reconnects[reason] = 0
    for (const group of this.#groups) {
      group.addStats(stats)
      for (const [reason, count] of Object.entries(group.reconnects)) {
        stats.reconnects[reason] = (stats.reconnects[reason] ?? 0) + count
      }
    }
    for (const stream of this.#symbolStreams) {
      stats.epochMax = Math.max(stats.epochMax, stream.refreshStats().epoch)
    }
    return stats
  }

  #connect(
    symbols: readonly PlannedSymbol[],
    owner: ConnectionOwner,
    budget: Budget,
  ): Connection {
    const { adapter, timings, wsUrl, restUrl } = this.#options
    const { openSocket } = adapter
    return new Connection(
      {
        url: overrideEndpoint(adapter.url(symbols), wsUrl),
        ...(openSocket === undefined ? {} : {
          openSocket: (url: string, events: SocketEvents) =>
            openSocket(url, events, symbols, restUrl),
        }),
        limits: adapter.limits,
        openingMessages: countOpeningMessages(adapter, symbols),
        ...(timings === undefined ? {} : { timings }),
      },
      budget,
      this.#environment,
      owner,
    )
  }

  #arm(): void {
    this.#timer = this.#environment.setTimer(TICK_MS, () => this.#tick())
  }

  /** The one wheel: every deadline of a feed is looked at here, none has a timer of its own. */
  #tick(): void {
    const now = this.#environment.monotonicMs()
    const lateMs = Math.max(0, now - this.#lastTickMs - LATE_MS)
    this.#lastTickMs = now
    for (const group of this.#groups) group.tick(now, lateMs)
    this.#tickStreams(now)
    if (this.#droppedStreams > 0) this.#tellDropped()
    if (!this.#drained) this.#arm()
  }

  /** A bounded number of checkpoints per tick; who comes first rotates. */
  #tickStreams(nowMs: number): void {
    const streams = this.#symbolStreams
    const first = this.#nextStream
    let checkpoints = 0
    for (let offset = 0; offset < streams.length; offset++) {
      const at = (first + offset) % streams.length
      if (!streams[at].tick(nowMs, checkpoints < this.#checkpointsPerTick)) continue
      checkpoints++
      this.#nextStream = (at + 1) % streams.length
    }
  }

  #tellDropped(): void {
    this.#notice(
      'warn',
      `the sink lost ${this.#droppedEvents} events of ${this.#droppedStreams} symbols: it was too ` +
        'slow or failed; they go on with a snapshot under a new epoch when it takes events again',
    )
    this.#droppedStreams = 0
    this.#droppedEvents = 0
  }

  #pressure(full: boolean): void {
    if (this.#drained) return
    for (const group of this.#groups) group.setDeaf(full)
  }

  #noticeHeld({ forMs, reason }: Hold): void {
    this.#notice(
      'warn',
      `${this.#options.adapter.exchange} refuses this address (${reason}): no new socket and no ` +
        `request for ${Math.ceil(forMs / 1000)} s; live books go on`,
    )
  }

  #notice(level: 'warn' | 'info' | 'debug', message: string): void {
    const now = this.#environment.monotonicMs()
    if (now - this.#noticeWindowMs >= NOTICE_WINDOW_MS) {
      const untold = this.#notices - NOTICES_PER_WINDOW
      this.#noticeWindowMs = now
      this.#notices = 0
      if (untold > 0) this.#options.onNotice('warn', `${untold} more messages were left out`)
    }
    this.#notices++
    if (this.#notices <= NOTICES_PER_WINDOW) this.#options.onNotice(level, message)
  }
}

/** A session is pure: a throwaway one tells what a fresh one will send. */
function countOpeningMessages(adapter: Adapter, instruments: readonly Instrument[]): number {
  let count = 0
  const output: SessionOutput = {
    send: () => count++,
    snapshot: ignore,
    delta: ignore,
    refreshed: ignore,
    retire: ignore,
    suspect: ignore,
    requestSnapshot: ignore,
    fail: ignore,
  }
  adapter.open(instruments, output, 1).opened()
  return count
}

function ignore(): void {}
