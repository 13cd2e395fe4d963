/**
 * Knows what must hold in every world: reads every record as it is stored, compares each book that
 * a consumer calls valid with the exchange's, and keeps the log's own account of epochs and seqs.
 */
import type { ObfeedError } from '../../src/core/errors.ts'
import type { PlannedSymbol } from '../../src/core/instrument.ts'
import { Replica } from '../../src/core/replica.ts'
import {
  type EventKind,
  KIND_DELTA,
  KIND_INVALID,
  KIND_SNAPSHOT,
  type Sink,
  type SinkEvents,
  type SinkStats,
} from '../../src/sinks/sink.ts'
import type { StoredRecord } from './broker.ts'
import { bookText, ConsumerBook, type ReadEvent, readEvent } from './consumer.ts'
import type { ExchangeHost } from './exchange.ts'
import type { NetworkObserver, SimulatedNetwork } from './network.ts'
import type { Tally } from './tally.ts'
import type { Witness } from './witness.ts'
import type { Position } from '../../src/feed/position.ts'

/** Where a record with a book came from. */
interface Source {
  /** -1 until it is known. */
  socket: number
  connection: number
  /** The exchange's sequence; -1: it has none. */
  readonly nonce: number
  /** Connections that it may have come from as well: a socket took the symbol over by nobody's word. */
  others: readonly number[]
  /** How often it was handed over, and stored. */
  pushed: number
  stored: number
  /** Frames of its socket did not arrive as they were sent. */
  harmed: boolean
  /** What it was found to be; -1: not looked at yet. */
  version: number
}

/** What the log holds of one run of a symbol. */
interface EpochAccount {
  /** Socket that the run is on now; -1: none was seen. */
  socket: number
  /** Of the newest book that was stored; -1: none was. */
  version: number
  /** Where that one came from. */
  source: Source | undefined
  timestamp: number
  /** What its last snapshot claims, 0 = all; -1: none was stored. */
  depth: number
  /** Highest seq stored. */
  last: number
  /** Its `invalid` was stored. */
  ended: boolean
  /** The sink reported a loss: what follows may leave a hole. */
  holes: boolean
  readonly seen: Set<number>
}

interface SymbolAccount {
  readonly planned: PlannedSymbol
  readonly epochs: Map<number, EpochAccount>
  epochMax: number
  /** What the feed handed to the sink last. */
  pushedEpoch: number
  pushedValid: boolean
  /** Books handed over by nobody's word: their sources are known when the running event is over. */
  readonly unclear: { readonly epoch: number; readonly source: Source }[]
  /** The last epoch of workers that are gone. */
  orphanedEpoch: number
  /** The socket that it was on last; -1: none yet. */
  socket: number
  /** Where the book that the feed handed over last came from. */
  pushed: Source | undefined
  /** Books of it that the running worker handed over. */
  pushes: number
  /** Since when the book was called live, if not all the time, on a connection that does not tell of it. */
  dead: { readonly connection: number; readonly sinceUs: number } | undefined
  /** Of all books that were stored, by whatever worker: the newest version, and its place. */
  newest: number
  published: Position | undefined
}

export interface OracleOptions {
  readonly symbols: readonly PlannedSymbol[]
  /** Levels a side; 0 = full. */
  readonly depth: number
  /** Nonces tell which state a book is in. */
  readonly numbered: boolean
  /** A lost frame makes all books of its connection suspect. */
  readonly byConnection: boolean
  /** Levels a side that are proven whatever happened to frames; Infinity: all. */
  readonly provenDepth: number
  /** Books may end before the exchange's do. */
  readonly finite: boolean
  readonly publish: 'delta' | 'book'
  /** Bound on what waits in the sink. */
  readonly queueBytesMax: number
  /** Hold the consumer of `src/core/replica.ts` against the independent one. */
  readonly replicas: boolean
}

/** A book that moves is never called live when it is older than this. */
const FRESH_US = 15e6
/**
 * The same where a symbol's rhythm tells nothing: so few of its books were handed over, or it moves so
 * seldom that a silence of 10 s is nothing special.
 */
const RHYTHM_PUSHES = 30
const LIVELY_MOVES = 12
const FRESH_UNKNOWN_US = 75e6
/** Levels a side that every view shows. */
const SEEN_DEPTH = 1

const decoder = new TextDecoder()
/** Of a record that was handed over by nobody. */
const NO_SOURCE: Source = {
  socket: -1,
  connection: -1,
  nonce: -1,
  others: [],
  pushed: 0,
  stored: 0,
  harmed: true,
  version: -1,
}

export class Oracle implements NetworkObserver {
  /** Records stored. */
  records = 0
  /** Books compared with the exchange's. */
  compared = 0
  readonly #options: OracleOptions
  readonly #tally: Tally
  readonly #accounts = new Map<string, SymbolAccount>()
  readonly #consumers: Map<string, ConsumerBook>[] = []
  readonly #replicas = new Map<string, Replica>()
  readonly #witness: Witness
  /** By record value. */
  readonly #sources = new Map<string, Source>()
  /** What the books of consumers were made of last. */
  readonly #latest = new Map<ConsumerBook, Source>()
  readonly #harmed = new Set<number>()
  /** Until when the sockets were paused; Infinity: they are. */
  #pressedUs = -Infinity
  #unclear = 0
  #deaths = 0
  #exchange: ExchangeHost | undefined
  #network: SimulatedNetwork | undefined

  constructor(options: OracleOptions, witness: Witness, tally: Tally) {
    this.#options = options
    this.#witness = witness
    this.#tally = tally
    for (const planned of options.symbols) {
      this.#accounts.set(planned.symbol, {
        planned,
        epochs: new Map(),
        epochMax: -1,
        pushedEpoch: -1,
        pushedValid: false,
        unclear: [],
        orphanedEpoch: -1,
        socket: -1,
        pushed: undefined,
        pushes: 0,
        dead: undefined,
        newest: -1,
        published: undefined,
      })
    }
    this.join([])
    if (!options.replicas) return
    for (const { symbol } of options.symbols) this.#replicas.set(symbol, new Replica(symbol))
  }

  attach(exchange: ExchangeHost, network: SimulatedNetwork): void {
    this.#exchange = exchange
    this.#network = network
  }

  /** One more consumer, which reads these records first and then all that come. */
  join(records: readonly StoredRecord[]): void {
    const consumer = new Map<string, ConsumerBook>()
    for (const symbol of this.#accounts.keys()) consumer.set(symbol, new ConsumerBook())
    this.#consumers.push(consumer)
    for (const { value } of records) this.#consume(consumer, readEvent(value), value)
  }

  /** A record was stored. */
  stored(record: StoredRecord): void {
    this.records++
    let event: ReadEvent
    try {
      event = readEvent(record.value)
    } catch (error) {
      return this.#tally.violation(`unreadable record: ${(error as Error).message}`)
    }
    this.#tally.trace(() =>
      `stored ${record.partition}/${record.offset} by ${record.producer}: ${
        record.value.slice(0, 160)
      }`
    )
    const account = this.#accounts.get(event.symbol)
    if (account === undefined || record.key !== event.symbol) {
      return this.#tally.violation(`record of ${event.symbol} under key ${record.key}`)
    }
    if (record.partition !== account.planned.partition) {
      return this.#tally.violation(`${event.symbol} in partition ${record.partition}`)
    }
    this.#audit(account, event, record)
    for (const consumer of this.#consumers) this.#consume(consumer, event, record.value)
    const replica = this.#replicas.get(event.symbol)
    if (replica !== undefined) this.#compare(replica, event, record.value)
  }

  #compare(replica: Replica, event: ReadEvent, value: string): void {
    const outcome = replica.receive(value)
    const book = this.#consumers[0]!.get(event.symbol)!
    const what = `${event.symbol} epoch ${event.epoch} seq ${event.seq} ${event.type}`
    if (outcome === 'mismatch' || outcome === 'unknown') {
      return this.#tally.violation(`${what}: the replica says ${outcome}`)
    }
    if (replica.valid !== book.valid || replica.epoch !== book.epoch) {
      return this.#tally.violation(
        `${what}: the replica is ${replica.valid ? '' : 'not '}valid in epoch ${replica.epoch}, ` +
          `the consumer is ${book.valid ? '' : 'not '}valid in epoch ${book.epoch}`,
      )
    }
    const text = bookText(replica.bids(), replica.asks())
    if (book.valid && text !== book.text()) {
      this.#tally.violation(`${what}: the replica has [${text}], the consumer [${book.text()}]`)
    }
  }

  // ---- the log's account

  #audit(account: SymbolAccount, event: ReadEvent, record: StoredRecord): void {
    const { symbol, epoch, seq, type } = event
    const what = `${symbol} epoch ${epoch} seq ${seq} ${type}`
    const run = this.#run(account, epoch)
    if (epoch < account.epochMax && !record.late) {
      this.#tally.violation(`${what}: stored after epoch ${account.epochMax}`)
    }
    account.epochMax = Math.max(account.epochMax, epoch)
    if (type === 'heartbeat') {
      if (!record.late && !run.holes && seq !== run.last) {
        this.#tally.violation(`${what}: heartbeat repeats ${seq}, the last seq is ${run.last}`)
      }
      return
    }
    const first = run.last < 0
    if (first && type === 'snapshot' && seq !== 0 && !record.late && !run.holes) {
      this.#tally.violation(`${what}: a run begins with seq 0`)
    }
    if (first && type === 'delta' && !run.holes) {
      this.#tally.violation(`${what}: a run begins with a snapshot`)
    }
    if (first && type === 'invalid' && !record.late && !run.holes) {
      // Only what a worker before published is taken back that way.
      if (seq !== 0 || event.reason !== 'disconnect' || this.#deaths === 0) {
        this.#tally.violation(`${what} ${event.reason}: of a run that never began`)
      }
    }
    if (run.ended && !record.late && type !== 'invalid') {
      this.#tally.violation(`${what}: stored after the invalid of its epoch`)
    }
    const broken = record.late || run.holes
    if (type !== 'invalid') {
      // A checkpoint repeats a seq, but no record, unless both were made in the same moment.
      const source = this.#sources.get(record.value)
      if (source !== undefined && ++source.stored > source.pushed) {
        this.#tally.violation(`${what}: stored twice`)
      }
    }
    const claimed = run.depth
    if (type === 'snapshot') run.depth = event.depth
    if (type === 'snapshot' && run.seen.has(seq)) {
      if (seq !== run.last && !broken) {
        this.#tally.violation(`${what}: a checkpoint repeats the last seq, which is ${run.last}`)
      }
      if (event.depth !== claimed && !broken) {
        this.#tally.violation(`${what}: a checkpoint claims ${event.depth} levels, not ${claimed}`)
      }
      return
    }
    if (run.seen.has(seq) && !(type === 'invalid' && broken)) {
      this.#tally.violation(`${what}: stored twice`)
    }
    if (!first && !broken) {
      if (seq !== run.last + 1) this.#tally.violation(`${what}: follows seq ${run.last}`)
      const repeats = event.depth === claimed && this.#options.publish === 'delta'
      if (type === 'snapshot' && repeats) {
        this.#tally.violation(`${what}: a second snapshot that is no checkpoint`)
      }
    }
    run.seen.add(seq)
    run.last = Math.max(run.last, seq)
    if (type === 'invalid') run.ended = true
  }

  #run(account: SymbolAccount, epoch: number): EpochAccount {
    let run = account.epochs.get(epoch)
    if (run === undefined) {
      run = {
        socket: -1,
        version: -1,
        source: undefined,
        timestamp: -1,
        depth: -1,
        last: -1,
        ended: false,
        holes: false,
        seen: new Set(),
      }
      account.epochs.set(epoch, run)
    }
    return run
  }

  // ---- what consumers hold

  #consume(consumer: Map<string, ConsumerBook>, event: ReadEvent, value: string): void {
    const book = consumer.get(event.symbol)!
    const before = book.valid && event.type === 'snapshot' && event.epoch === book.epoch &&
        event.seq === book.seq && event.parts === 1
      ? book.text()
      : undefined
    const verdict = book.receive(event)
    if (verdict !== 'loaded' && verdict !== 'applied') return
    const account = this.#accounts.get(event.symbol)!
    const source = this.#sources.get(value) ?? NO_SOURCE
    this.#latest.set(book, source)
    const what = `${event.symbol} epoch ${book.epoch} seq ${book.seq}` +
      (book.nonce === undefined ? '' : ` nonce ${book.nonce}`)
    const text = book.text()
    if (before !== undefined && before !== text) {
      return this.#tally.violation(`${what}: checkpoint [${text}] differs from [${before}]`)
    }
    this.compared++
    const isFirst = consumer === this.#consumers[0]
    const run = this.#run(account, book.epoch)
    const problem = this.#options.numbered
      ? this.#numberedProblem(account, book, source, isFirst ? run : undefined)
      : this.#unnumberedProblem(account, book, source, isFirst ? run : undefined)
    if (problem !== undefined) return this.#tally.violation(`${what} ${problem}`)
    this.#checkClaim(account, book, source, what)
  }

  /** What is wrong with a book whose nonce says which one it is. */
  #numberedProblem(
    account: SymbolAccount,
    book: ConsumerBook,
    source: Source,
    run: EpochAccount | undefined,
  ): string | undefined {
    if (book.nonce === undefined) return 'has no nonce'
    const { symbol } = account.planned
    const { nonce } = book
    const exchange = this.#exchange!
    const isRight = (one: number): boolean =>
      exchange.versionAt(symbol, one, nonce) >= (run?.version ?? -1) &&
      this.#isRight(symbol, book, nonce, one)
    if (source.others.length > 0 && !isRight(source.connection)) {
      source.connection = source.others.find(isRight) ?? source.connection
      source.others = []
    }
    const { connection } = source
    const version = exchange.versionAt(symbol, connection, nonce)
    source.version = version
    if (run !== undefined) {
      const problem = this.#olderProblem(account, book, source, version)
      if (problem !== undefined) return problem
      if (version >= 0 && version < run.version) {
        return `goes back to version ${version} from ${run.version}`
      }
      this.#advance(run, version, book, source)
    }
    if (this.#isRight(symbol, book, nonce, connection)) return undefined
    const truth = exchange.textAt(symbol, version, this.#options.depth)
    return `is valid but wrong: has [${book.text()}], true on connection ${connection} is ` +
      `version ${version}: [${truth}]`
  }

  /** No consumer is ever taken back behind what it was told before, in whatever run. */
  #olderProblem(
    account: SymbolAccount,
    book: ConsumerBook,
    source: Source,
    version: number,
  ): string | undefined {
    const nonce = Number(book.nonce)
    const { symbol } = account.planned
    if (this.#exchange!.exchange.isTainted(symbol, source.connection, nonce)) return undefined
    const { newest } = account
    // What a worker that is gone had under way comes too late to be known to its successor.
    if (version >= newest && book.epoch >= account.pushedEpoch) {
      account.newest = version
      account.published = { nonce, nonceText: undefined, timestampMs: book.timestamp }
    }
    // A number of a connection says nothing of another one's.
    if (version < 0 || version >= newest || this.#options.byConnection) return undefined
    return `is version ${version}, and ${newest} was published before`
  }

  /** What a worker can know of the past: the topic. */
  get published(): ReadonlyMap<string, Position> {
    const known = new Map<string, Position>()
    for (const [symbol, { published }] of this.#accounts) {
      if (published !== undefined) known.set(symbol, published)
    }
    return known
  }

  /** A worker begins. */
  begun(): void {
    for (const account of this.#accounts.values()) account.pushes = 0
  }

  /** Books that the feed calls live are no older than consumers are promised. */
  checkAge(): void {
    // Where nothing is numbered no version can be told from an older one that looks like it.
    if (!this.#options.numbered) return
    const exchange = this.#exchange!
    // The last frame before a market stands still may be lost, and no other will tell.
    if (exchange.exchange.paused) return
    const now = this.#network!.clock.timeUs
    // While nobody may listen, nothing is heard.
    if (now - this.#pressedUs < FRESH_US) return
    for (const [symbol, account] of this.#accounts) {
      const source = account.pushed
      if (!account.pushedValid || source === undefined || account.unclear.length > 0) continue
      const { connection, nonce } = source
      // Whose number it is shows when it is stored.
      if (source.others.length > 0) continue
      // A socket tells by its pongs that it is there; of a symbol only its rhythm tells.
      const moves = exchange.versionAsOf(symbol, now) - exchange.versionAsOf(symbol, now - FRESH_US)
      const isKnown = this.#network!.isDeadFor(source.socket, FRESH_US) ||
        account.pushes >= RHYTHM_PUSHES && moves >= LIVELY_MOVES
      const mostUs = (isKnown ? FRESH_US : FRESH_UNKNOWN_US) + this.#network!.latenessUs
      const least = exchange.versionAsOf(symbol, now - mostUs)
      // Where a stream is never subscribed anew, what REST says of it comes from nowhere.
      if (this.#options.finite && exchange.isSilent(symbol, connection)) {
        if (account.dead?.connection !== connection) account.dead = { connection, sinceUs: now }
      }
      const { dead } = account
      if (isKnown && dead?.connection === connection && now - dead.sinceUs > mostUs) {
        this.#tally.violation(
          `${symbol} epoch ${account.pushedEpoch} is live on a stream that has been dead for ` +
            `${mostUs / 1e6} s (connection ${connection})`,
        )
      }
      const version = exchange.versionAt(symbol, connection, nonce)
      if (version < 0 || version >= least) continue
      // What moved may be out of sight.
      const text = exchange.textAt(symbol, version, SEEN_DEPTH)
      if (text === exchange.textAt(symbol, least, SEEN_DEPTH)) continue
      if (exchange.exchange.isTainted(symbol, connection, nonce)) continue
      this.#tally.violation(
        `${symbol} epoch ${account.pushedEpoch} is live at version ${version}, and ${least} was ` +
          `true ${mostUs / 1e6} s ago (connection ${connection})`,
      )
    }
  }

  /** The sink wants no more, or does again. */
  pressed(full: boolean): void {
    this.#pressedUs = full ? Infinity : this.#network!.clock.timeUs
  }

  /** It is what the exchange has sent on this connection. */
  #isRight(symbol: string, book: ConsumerBook, nonce: number, connection: number): boolean {
    const exchange = this.#exchange!
    const version = exchange.versionAt(symbol, connection, nonce)
    return this.#equals(symbol, book, version) ||
      exchange.exchange.isTainted(symbol, connection, nonce)
  }

  /** The same where nothing is numbered: it is one of the exchange's, and no older than the last. */
  #unnumberedProblem(
    account: SymbolAccount,
    book: ConsumerBook,
    source: Source,
    run: EpochAccount | undefined,
  ): string | undefined {
    if (book.nonce !== undefined) return 'has a nonce'
    const exchange = this.#exchange!
    const { symbol } = account.planned
    const { depth: wanted, provenDepth } = this.#options
    let depth = wanted
    if (source.harmed && provenDepth < (wanted === 0 ? Infinity : wanted)) depth = provenDepth
    const text = book.text(depth)
    // A frame that comes again late brings back what a checksum once proved.
    const mayReturn = (source.harmed && provenDepth < Infinity) ||
      (run !== undefined && this.#mayStepBack(run, source))
    let from = run?.version ?? source.version
    if (mayReturn && exchange.versionOf(symbol, text, depth, Math.max(0, from)) < 0) from = 0
    const version = exchange.versionOf(symbol, text, depth, Math.max(0, from))
    if (version < 0) {
      const any = exchange.versionOf(symbol, text, depth, 0)
      return any < 0
        ? `is valid but wrong: [${text}] was never true; now it is ` +
          `[${exchange.textAt(symbol, exchange.exchange.version(symbol), depth)}]`
        : `goes back to version ${any} from ${from}: [${text}]`
    }
    if (run !== undefined) {
      this.#advance(run, version, book, source)
      source.version = version
    }
    return undefined
  }

  #advance(run: EpochAccount, version: number, book: ConsumerBook, source: Source): void {
    run.version = version
    run.source = source
    run.timestamp = book.timestamp
  }

  /** When a socket takes over and the exchange gives neither sequence nor time to compare. */
  #mayStepBack(run: EpochAccount, source: Source): boolean {
    return run.source !== undefined && run.source.socket !== source.socket &&
      !this.#options.numbered && run.timestamp < 0
  }

  /** What the consumer holds is true: the levels that the stream claims, and no others. */
  #equals(symbol: string, book: ConsumerBook, version: number): boolean {
    return this.#exchange!.textAt(symbol, version, book.depth) === book.text()
  }

  /** A book has as many levels as the last snapshot claims, or all, and never more. */
  #checkClaim(account: SymbolAccount, book: ConsumerBook, source: Source, what: string): void {
    const { finite, depth } = this.#options
    const claimed = book.depth
    const levels = `${what} claims ${claimed} levels, has ${book.bidCount} and ${book.askCount}`
    if (claimed > 0 && Math.max(book.bidCount, book.askCount) > claimed) {
      return this.#tally.violation(levels)
    }
    if (!finite) {
      if (claimed !== depth) this.#tally.violation(`${levels}, ${depth} were asked for`)
      return
    }
    if (depth > 0 && (claimed === 0 || claimed > depth)) {
      return this.#tally.violation(`${levels}, ${depth} were asked for`)
    }
    const { version } = source
    const truth = version < 0
      ? undefined
      : this.#exchange!.bookAt(account.planned.symbol, version, claimed)
    if (truth === undefined) return
    const isShort = book.bidCount < truth.bids.length || book.askCount < truth.asks.length
    if (!isShort) return
    if (this.#exchange!.exchange.isTainted(account.planned.symbol, 0, book.nonce ?? -1)) return
    this.#tally.violation(`${levels}, there are ${truth.bids.length} and ${truth.asks.length}`)
  }

  /**
   * What keeps the books of all consumers from being valid and current; undefined: nothing. Those
   * that only silence tells of are looked at with `silent`.
   */
  unfinished(silent: boolean): string | undefined {
    const { depth } = this.#options
    const exchange = this.#exchange!
    for (const [symbol, account] of this.#accounts) {
      const isDelisted = exchange.exchange.isDelisted(symbol)
      if (isDelisted && !silent) continue
      const version = exchange.exchange.version(symbol)
      for (const consumer of this.#consumers) {
        const book = consumer.get(symbol)!
        if (isDelisted) {
          if (book.valid) return `${symbol} is delisted and still valid`
          continue
        }
        if (!book.valid) return `${symbol} is not valid`
        if (this.#equals(symbol, book, version)) continue
        const { connection } = this.#latest.get(book) ?? NO_SOURCE
        // No frame will ever tell of this one; `stored` has compared it as of its nonce.
        if (exchange.isHopeless(symbol, connection, book.nonce ?? -1)) continue
        const carrier = this.#runOf(account)?.socket ?? -1
        const connections = [connection, exchange.connectionOf(carrier)]
        // Its last frame may be lost, and the market stands still: no other will tell.
        const isHarmed = !this.#options.byConnection && this.#harmed.has(carrier)
        const isSilent = isHarmed || connections.some((one) => exchange.isSilent(symbol, one))
        if (!silent && isSilent) continue
        const truth = exchange.textAt(symbol, version, depth)
        return `${symbol} has [${book.text()}], true is [${truth}]`
      }
    }
    return undefined
  }

  /** In a world in which nothing went wrong: what did all the same. */
  disturbance(): string | undefined {
    for (const [symbol, { epochs }] of this.#accounts) {
      if (this.#exchange!.exchange.isDelisted(symbol)) continue
      if (epochs.size !== 1) return `${symbol} has had ${epochs.size} epochs`
      for (const [epoch, { ended }] of epochs) if (ended) return `${symbol} epoch ${epoch} ended`
    }
    return undefined
  }

  /** Consumers for which some symbol is still valid. */
  stillValid(): string | undefined {
    for (const consumer of this.#consumers) {
      for (const [symbol, book] of consumer) if (book.valid) return symbol
    }
    return undefined
  }

  /**
   * A symbol that some consumer still takes for valid although the worker that published it is
   * gone.
   */
  orphan(): string | undefined {
    for (const consumer of this.#consumers) {
      for (const [symbol, book] of consumer) {
        if (book.valid && book.epoch <= this.#accounts.get(symbol)!.orphanedEpoch) return symbol
      }
    }
    return undefined
  }

  // ---- between feed and sink

  /** The sink of one worker, watched. */
  watch(sink: Sink): Sink {
    return new WatchedSink(sink, this)
  }

  /** The sink has taken it, or not. */
  pushed(planned: PlannedSymbol, kind: EventKind, taken: boolean): void {
    if (!taken) return
    const account = this.#accounts.get(planned.symbol)!
    if (kind === KIND_INVALID) account.pushedValid = false
    if (kind === KIND_SNAPSHOT || kind === KIND_DELTA) account.pushedValid = true
  }

  /** The feed hands it over; the sink may find that it has to drop something. */
  pushing(planned: PlannedSymbol, kind: EventKind, bytes: Uint8Array): void {
    const account = this.#accounts.get(planned.symbol)!
    const head = decoder.decode(bytes.length > 200 ? bytes.subarray(0, 200) : bytes)
    const epoch = numberIn(head, '"epoch":')
    if (kind !== KIND_SNAPSHOT && kind !== KIND_DELTA) {
      account.pushedEpoch = Math.max(account.pushedEpoch, epoch)
      return
    }
    if (epoch < account.pushedEpoch) {
      this.#tally.violation(
        `${planned.symbol} epoch ${epoch}: begun after epoch ${account.pushedEpoch}`,
      )
    }
    const value = decoder.decode(bytes)
    const source: Source = this.#sources.get(value) ?? {
      ...NO_SOURCE,
      nonce: numberIn(head, '"nonce":'),
      harmed: false,
    }
    source.pushed++
    this.#sources.set(value, source)
    // Checkpoints are no rhythm.
    if (account.pushed?.nonce !== source.nonce) account.pushes++
    account.pushed = source
    account.pushedEpoch = Math.max(account.pushedEpoch, epoch)
    const { speaking } = this.#witness
    if (speaking >= 0) {
      this.#clear(account)
      this.#attribute(account, epoch, source, speaking)
    } else {
      account.unclear.push({ epoch, source })
      this.#unclear++
    }
  }

  /** The socket that the symbol's published book comes from now is `socket`. */
  #attribute(account: SymbolAccount, epoch: number, source: Source, socket: number): void {
    const { symbol } = account.planned
    const run = this.#run(account, epoch)
    if (run.socket > socket) {
      this.#tally.violation(
        `${symbol} epoch ${epoch}: goes back to socket ${socket}, it was on ${run.socket}`,
      )
    } else if (run.socket >= 0 && run.socket < socket) {
      this.#tally.count('run handed over')
    }
    run.socket = socket
    account.socket = socket
    source.socket = socket
    source.connection = this.#exchange!.connectionOf(socket)
    source.harmed = this.#harmed.has(socket)
  }

  /** Those that nobody spoke for are of the socket that had the book, or took it over. */
  #clear(account: SymbolAccount): void {
    if (account.unclear.length === 0) return
    for (const { epoch, source } of account.unclear) {
      const carrier = this.#carrier(account, epoch)
      this.#attribute(account, epoch, source, carrier)
      const next = this.#successor(account, carrier)
      if (next >= 0) source.others = [this.#exchange!.connectionOf(next)]
    }
    this.#unclear -= account.unclear.length
    account.unclear.length = 0
  }

  #carrier(account: SymbolAccount, epoch: number): number {
    const run = this.#run(account, epoch)
    const before = run.socket >= 0 ? run.socket : account.socket
    if (before >= 0 && this.#network!.isOpen(before)) return before
    const next = this.#successor(account, before)
    if (next >= 0) return next
    // The next socket was given up: the one before it has the book again.
    const earlier = this.#witness.predecessor(
      account.planned.symbol,
      before,
      (one) => this.#network!.isOpen(one),
    )
    return earlier >= 0 ? earlier : before
  }

  #successor(account: SymbolAccount, socket: number): number {
    const network = this.#network!
    return this.#witness.successor(account.planned.symbol, socket, (one) => network.isOpen(one))
  }

  #runOf(account: SymbolAccount): EpochAccount | undefined {
    return account.epochs.get(account.pushedEpoch)
  }

  /** An event and all that it set off are over. */
  settled(): void {
    if (this.#unclear === 0) return
    for (const account of this.#accounts.values()) this.#clear(account)
  }

  /** The sink says that it lost something of the running epoch. */
  dropped(planned: PlannedSymbol): void {
    const account = this.#accounts.get(planned.symbol)!
    this.#tally.count('stream dropped by the sink')
    for (const [epoch, run] of account.epochs) if (epoch >= account.epochMax) run.holes = true
    this.#run(account, account.pushedEpoch).holes = true
  }

  /** The worker is gone without a word: what it had handed over may end anywhere. */
  killed(): void {
    for (const account of this.#accounts.values()) {
      this.#clear(account)
      account.pushedValid = false
      account.orphanedEpoch = account.pushedEpoch
    }
    this.#deaths++
  }

  lost(socket: number): void {
    this.#mustBeInvalid(socket, 'its socket is gone', true)
  }

  gap(socket: number): void {
    if (this.#options.byConnection) {
      this.#mustBeInvalid(socket, 'a frame of its socket is missing', false)
    }
  }

  harmed(socket: number): void {
    this.#harmed.add(socket)
  }

  /** `isReplaceable`: unless another socket has taken the book over. */
  #mustBeInvalid(socket: number, why: string, isReplaceable: boolean): void {
    for (const [symbol, account] of this.#accounts) {
      this.#clear(account)
      const next = isReplaceable ? this.#successor(account, socket) : -1
      const run = this.#runOf(account)
      if (next >= 0) {
        if (account.socket === socket) account.socket = next
        if (run?.socket === socket) run.socket = next
      }
      if (!account.pushedValid || run?.socket !== socket) continue
      this.#tally.violation(`${symbol} epoch ${account.pushedEpoch} stays valid: ${why}`)
    }
  }

  // ---- at any time

  check(stats: SinkStats, broken: string | undefined): void {
    // The bound, one frame's records in flight of being judged, and one `invalid` a stream.
    const bound = this.#options.queueBytesMax * 2 + 20_000
    if (stats.queuedBytes > bound) {
      this.#tally.violation(`${stats.queuedBytes} bytes are queued, the bound is ${bound}`)
    }
    if (stats.queuedBytes < 0 || stats.queuedRecords < 0) {
      this.#tally.violation(`queue: ${stats.queuedRecords} records, ${stats.queuedBytes} bytes`)
    }
    if (broken !== undefined) this.#tally.violation(`a rule of the exchange was broken, ${broken}`)
  }
}

/** The number behind this name; -1: it is not there. */
function numberIn(head: string, name: string): number {
  const at = head.indexOf(name)
  return at < 0 ? -1 : parseInt(head.slice(at + name.length), 10)
}

/** Passes everything on and tells the oracle. */
class WatchedSink implements Sink {
  readonly stats: SinkStats
  readonly #sink: Sink
  readonly #oracle: Oracle
  #streams: readonly PlannedSymbol[] = []

  constructor(sink: Sink, oracle: Oracle) {
    this.#sink = sink
    this.#oracle = oracle
    this.stats = sink.stats
  }

  get recordBytesMax(): number {
    return this.#sink.recordBytesMax
  }

  start(streams: readonly PlannedSymbol[], events: SinkEvents): Promise<void> {
    this.#streams = streams
    return this.#sink.start(streams, {
      dropped: (stream, count) => {
        this.#oracle.dropped(streams[stream]!)
        events.dropped(stream, count)
      },
      writable: (stream) => events.writable(stream),
      pressure: (full) => {
        this.#oracle.pressed(full)
        events.pressure(full)
      },
      failed: (error: ObfeedError) => events.failed(error),
    })
  }

  push(
    stream: number,
    kind: EventKind,
    bytes: Uint8Array,
    start: number,
    end: number,
    timestampMs: number,
  ): boolean {
    const planned = this.#streams[stream]!
    this.#oracle.pushing(planned, kind, bytes.subarray(start, end))
    const taken = this.#sink.push(stream, kind, bytes, start, end, timestampMs)
    this.#oracle.pushed(planned, kind, taken)
    return taken
  }

  flush(timeoutMs: number): Promise<boolean> {
    return this.#sink.flush(timeoutMs)
  }

  close(): Promise<void> {
    return this.#sink.close()
  }
}
