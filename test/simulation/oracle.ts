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

/** What the log holds of one run of a symbol. */
interface EpochAccount {
  /** Connection of the exchange that brought its first snapshot; -1: none was seen. */
  connection: number
  /** Highest seq stored. */
  last: number
  /** Its `invalid` was stored. */
  ended: boolean
  /** The sink reported a loss: what follows may leave a hole. */
  holes: boolean
  readonly seen: Set<number>
  readonly values: Set<string>
}

interface SymbolAccount {
  readonly planned: PlannedSymbol
  readonly epochs: Map<number, EpochAccount>
  epochMax: number
  /** What the feed handed to the sink last. */
  pushedEpoch: number
  pushedValid: boolean
  /** The last epoch of workers that are gone. */
  orphanedEpoch: number
}

export interface OracleOptions {
  readonly symbols: readonly PlannedSymbol[]
  readonly depth: number
  readonly publish: 'delta' | 'book'
  /** Bound on what waits in the sink. */
  readonly queueBytesMax: number
  /** Hold the consumer of `src/core/replica.ts` against the independent one. */
  readonly replicas: boolean
}

const decoder = new TextDecoder()

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
  #deaths = 0
  #exchange: ExchangeHost | undefined
  #network: SimulatedNetwork | undefined

  constructor(options: OracleOptions, tally: Tally) {
    this.#options = options
    this.#tally = tally
    for (const planned of options.symbols) {
      this.#accounts.set(planned.symbol, {
        planned,
        epochs: new Map(),
        epochMax: -1,
        pushedEpoch: -1,
        pushedValid: false,
        orphanedEpoch: -1,
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
    for (const record of records) this.#consume(consumer, readEvent(record.value))
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
    for (const consumer of this.#consumers) this.#consume(consumer, event)
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
      // A checkpoint repeats a seq, but never a record: it is published at a time of its own.
      if (run.values.has(record.value)) this.#tally.violation(`${what}: stored twice`)
      run.values.add(record.value)
    }
    if (type === 'snapshot' && run.seen.has(seq)) {
      if (seq !== run.last && !broken) {
        this.#tally.violation(`${what}: a checkpoint repeats the last seq, which is ${run.last}`)
      }
      return
    }
    if (run.seen.has(seq) && !(type === 'invalid' && broken)) {
      this.#tally.violation(`${what}: stored twice`)
    }
    if (!first && !broken) {
      if (seq !== run.last + 1) this.#tally.violation(`${what}: follows seq ${run.last}`)
      if (type === 'snapshot' && this.#options.publish === 'delta') {
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
        connection: -1,
        last: -1,
        ended: false,
        holes: false,
        seen: new Set(),
        values: new Set(),
      }
      account.epochs.set(epoch, run)
    }
    return run
  }

  // ---- what consumers hold

  #consume(consumer: Map<string, ConsumerBook>, event: ReadEvent): void {
    const book = consumer.get(event.symbol)!
    const before = book.valid && event.type === 'snapshot' && event.epoch === book.epoch &&
        event.seq === book.seq && event.parts === 1
      ? book.text()
      : undefined
    const verdict = book.receive(event)
    if (verdict !== 'loaded' && verdict !== 'applied') return
    const account = this.#accounts.get(event.symbol)!
    const what = `${event.symbol} epoch ${book.epoch} seq ${book.seq} nonce ${book.nonce}`
    const text = book.text()
    if (before !== undefined && before !== text) {
      return this.#tally.violation(`${what}: checkpoint [${text}] differs from [${before}]`)
    }
    if (book.nonce === undefined) return this.#tally.violation(`${what}: no nonce`)
    const { connection } = this.#run(account, book.epoch)
    const { wireSymbol } = account.planned
    const { depth } = this.#options
    const truth = this.#exchange!.truthAt(wireSymbol, connection, book.nonce, depth)
    this.compared++
    if (truth === text) return
    if (this.#exchange!.exchange.isTainted(wireSymbol, connection, book.nonce)) return
    this.#tally.violation(
      `${what} is valid but wrong: has [${text}], true on connection ${connection}: [${truth}]`,
    )
  }

  /**
   * What keeps the books of all consumers from being valid and current; undefined: nothing. Those
   * that only silence tells of are looked at with `silent`.
   */
  unfinished(silent: boolean): string | undefined {
    const { depth } = this.#options
    const exchange = this.#exchange!
    for (const [symbol, { planned, epochs }] of this.#accounts) {
      const truth = exchange.truthNow(planned.wireSymbol, depth)
      for (const consumer of this.#consumers) {
        const book = consumer.get(symbol)!
        if (!book.valid) return `${symbol} is not valid`
        if (book.text() === truth) continue
        const connection = epochs.get(book.epoch)?.connection ?? -1
        // No frame will ever tell of this one; `stored` has compared it as of its nonce.
        if (exchange.exchange.isTainted(planned.wireSymbol, connection, book.nonce!)) continue
        if (!silent && exchange.isSilent(planned.wireSymbol, connection)) continue
        return `${symbol} has [${book.text()}], true is [${truth}]`
      }
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
    const epoch = parseInt(head.slice(head.indexOf('"epoch":') + 8), 10)
    if (kind !== KIND_SNAPSHOT && kind !== KIND_DELTA) {
      account.pushedEpoch = Math.max(account.pushedEpoch, epoch)
      return
    }
    const { delivering } = this.#network!
    const subscriber = this.#exchange!.subscriberOf(planned.wireSymbol)
    const socket = delivering >= 0 ? delivering : subscriber
    const connection = this.#exchange!.connectionOf(socket)
    const run = this.#run(account, epoch)
    if (epoch < account.pushedEpoch) {
      this.#tally.violation(
        `${planned.symbol} epoch ${epoch}: begun after epoch ${account.pushedEpoch}`,
      )
    } else if (epoch > account.pushedEpoch) run.connection = connection
    else if (run.connection !== connection) {
      this.#tally.violation(
        `${planned.symbol} epoch ${epoch}: goes on over connection ${connection}, ` +
          `it began on ${run.connection}`,
      )
    }
    account.pushedEpoch = Math.max(account.pushedEpoch, epoch)
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
      account.pushedValid = false
      account.orphanedEpoch = account.pushedEpoch
    }
    this.#deaths++
  }

  lost(socket: number): void {
    this.#mustBeInvalid(socket, 'its socket is gone')
  }

  gap(socket: number): void {
    this.#mustBeInvalid(socket, 'a frame of its socket is missing')
  }

  #mustBeInvalid(socket: number, why: string): void {
    const connection = this.#exchange!.connectionOf(socket)
    if (connection < 0) return
    for (const [symbol, account] of this.#accounts) {
      if (!account.pushedValid) continue
      if (account.epochs.get(account.pushedEpoch)?.connection !== connection) continue
      this.#tally.violation(`${symbol} epoch ${account.pushedEpoch} stays valid: ${why}`)
    }
  }

  // ---- at any time

  check(stats: SinkStats, violations: number): void {
    // The bound, one frame's records in flight of being judged, and one `invalid` a stream.
    const bound = this.#options.queueBytesMax * 2 + 20_000
    if (stats.queuedBytes > bound) {
      this.#tally.violation(`${stats.queuedBytes} bytes are queued, the bound is ${bound}`)
    }
    if (stats.queuedBytes < 0 || stats.queuedRecords < 0) {
      this.#tally.violation(`queue: ${stats.queuedRecords} records, ${stats.queuedBytes} bytes`)
    }
    if (violations > 0) this.#tally.violation(`${violations} rules of the exchange were broken`)
  }
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

  start(streams: readonly PlannedSymbol[], events: SinkEvents): Promise<void> {
    this.#streams = streams
    return this.#sink.start(streams, {
      dropped: (stream, count) => {
        this.#oracle.dropped(streams[stream]!)
        events.dropped(stream, count)
      },
      writable: (stream) => events.writable(stream),
      pressure: (full) => events.pressure(full),
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
