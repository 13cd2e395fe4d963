/** A hand-driven environment, sink and exchange for the feed's tests. */
import type { LevelChanges } from '../../src/core/changes.ts'
import { ASK, BID, LevelChanges as Changes } from '../../src/core/changes.ts'
import type {
  Environment,
  HttpResponse,
  Socket,
  SocketEvents,
  Timer,
} from '../../src/core/environment.ts'
import { ObfeedError } from '../../src/core/errors.ts'
import type { PlannedSymbol } from '../../src/core/instrument.ts'
import type { Adapter, Limits, Session, SessionOutput } from '../../src/exchanges/adapter.ts'
import { RECORD_BYTES_MAX } from '../../src/sinks/sink.ts'
import type { EventKind, Sink, SinkEvents, SinkStats } from '../../src/sinks/sink.ts'

interface Alarm {
  readonly atMs: number
  readonly order: number
  readonly callback: () => void
}

export interface FakeRequest {
  readonly url: string
  cancelled: boolean
  answer(response: HttpResponse): void
}

/** Time stands still but for `advance`; sockets and requests are answered by the test. */
export class FakeEnvironment implements Environment {
  /** Wall clock minus monotonic clock, ms: may be stepped by a test. */
  offsetMs = 1_700_000_000_000
  sockets: FakeSocket[] = []
  requests: FakeRequest[] = []
  randomValue = 0.5
  #nowMs = 1000
  #order = 0
  readonly #alarms = new Set<Alarm>()

  nowUs(): number {
    return Math.floor((this.#nowMs + this.offsetMs) * 1000)
  }

  monotonicMs(): number {
    return this.#nowMs
  }

  random(): number {
    return this.randomValue
  }

  get pendingTimers(): number {
    return this.#alarms.size
  }

  setTimer(delayMs: number, callback: () => void): Timer {
    const alarm = { atMs: this.#nowMs + Math.max(0, delayMs), order: this.#order++, callback }
    this.#alarms.add(alarm)
    return { cancel: () => this.#alarms.delete(alarm) }
  }

  openSocket(url: string, events: SocketEvents): Socket {
    const socket = new FakeSocket(url, events)
    this.sockets.push(socket)
    return socket
  }

  httpGet(url: string, timeoutMs: number, done: (response: HttpResponse) => void): Timer {
    const request: FakeRequest = {
      url,
      cancelled: false,
      answer: (response) => {
        deadline.cancel()
        if (!request.cancelled) done(response)
        request.cancelled = true
      },
    }
    const deadline = this.setTimer(timeoutMs, () => request.answer({ status: 0, body: '' }))
    this.requests.push(request)
    return {
      cancel: () => {
        deadline.cancel()
        request.cancelled = true
      },
    }
  }

  /** The latest socket. */
  get socket(): FakeSocket {
    return this.sockets[this.sockets.length - 1]
  }

  /** Runs every timer that falls due, in order. */
  advance(ms: number): void {
    const endMs = this.#nowMs + ms
    while (true) {
      let next: Alarm | undefined
      for (const alarm of this.#alarms) {
        if (alarm.atMs > endMs) continue
        if (
          next === undefined || alarm.atMs < next.atMs ||
          (alarm.atMs === next.atMs && alarm.order < next.order)
        ) next = alarm
      }
      if (next === undefined) break
      this.#alarms.delete(next)
      this.#nowMs = Math.max(this.#nowMs, next.atMs)
      next.callback()
    }
    this.#nowMs = endMs
  }

  /** The process did not run for so long: what fell due meanwhile runs only now. */
  freeze(ms: number): void {
    this.#nowMs += ms
    this.advance(0)
  }
}

export class FakeSocket implements Socket {
  readonly url: string
  /** Kept by a test that plays a late event of a dead socket. */
  readonly events: SocketEvents
  readonly sent: string[] = []
  /** Protocol pings of the client. */
  pings = 0
  /** They are answered. */
  answers = true
  paused = false
  terminated = false
  bufferedBytes = 0

  constructor(url: string, events: SocketEvents) {
    this.url = url
    this.events = events
  }

  send(text: string): void {
    this.sent.push(text)
  }

  ping(): void {
    this.pings++
    if (this.answers) this.events.alive()
  }

  pause(): void {
    this.paused = true
  }

  resume(): void {
    this.paused = false
  }

  terminate(): void {
    this.terminated = true
  }

  open(): void {
    this.events.opened()
  }

  receive(frame: unknown): void {
    this.events.received(new TextEncoder().encode(JSON.stringify(frame)))
  }
}

export interface PushedRecord {
  readonly stream: number
  readonly kind: EventKind
  readonly timestampMs: number
  // deno-lint-ignore no-explicit-any
  readonly value: any
}

/** Keeps every record, parsed; takes none of a stream in `blocked` but its invalids. */
export class FakeSink implements Sink {
  recordBytesMax = RECORD_BYTES_MAX
  records: PushedRecord[] = []
  events: SinkEvents | undefined
  readonly blocked = new Set<number>()
  /** Events that were not taken. */
  refused = 0
  /** Called inside `push`, before the record is kept. */
  onPush: ((stream: number, kind: EventKind) => void) | undefined
  readonly stats: SinkStats = {
    connected: true,
    queuedRecords: 0,
    queuedBytes: 0,
    oldestMs: 0,
    sentRecords: 0,
    sentBytes: 0,
    droppedRecords: 0,
    errors: 0,
    retries: 0,
    latencyBuckets: [],
    latencySumS: 0,
    latencyCount: 0,
  }

  start(_streams: readonly PlannedSymbol[], events: SinkEvents): Promise<void> {
    this.events = events
    return Promise.resolve()
  }

  push(
    stream: number,
    kind: EventKind,
    bytes: Uint8Array,
    start: number,
    end: number,
    timestampMs: number,
  ): boolean {
    this.onPush?.(stream, kind)
    const value = JSON.parse(new TextDecoder().decode(bytes.subarray(start, end)))
    if (this.blocked.has(stream) && value.type !== 'invalid') {
      this.refused++
      return false
    }
    this.records.push({ stream, kind, timestampMs, value })
    return true
  }

  flush(): Promise<boolean> {
    return Promise.resolve(true)
  }

  close(): Promise<void> {
    return Promise.resolve()
  }

  /** Takes what was pushed since, as `type epoch-rank.seq[ detail]`, without heartbeats. */
  take(stream = 0): string[] {
    const mine = this.records.filter((record) => record.stream === stream)
    this.records = this.records.filter((record) => record.stream !== stream)
    return mine.filter(({ value }) => value.type !== 'heartbeat').map(({ value }) => {
      const rank = this.#rank(stream, value.epoch)
      const detail = value.type === 'invalid'
        ? ` ${value.reason}`
        : ` ${JSON.stringify(value.bids)}${JSON.stringify(value.asks)}`
      return `${value.type} ${rank}.${value.seq}${detail}`
    })
  }

  readonly #epochs = new Map<number, number[]>()

  /** Epochs of a stream counted from 1, and checked to grow. */
  #rank(stream: number, epoch: number): number {
    const known = this.#epochs.get(stream) ?? []
    this.#epochs.set(stream, known)
    const last = known[known.length - 1]
    if (last !== undefined && epoch < last) throw new Error(`epoch ${epoch} after ${last}`)
    if (last !== epoch) known.push(epoch)
    return known.length
  }
}

type FakeLevels = readonly (readonly [price: number, size: number])[]

/**
 * A frame of the fake exchange: `n` counts all frames of a connection from 0. Types: `s`napshot,
 * `u`pdate, `h`eartbeat, `r`etire (the exchange will end the socket), `f`resh whole book, `x` (the session fails with scope `symbol`, or `connection` without i; with
 * levels it gives a snapshot after that).
 */
export interface FakeFrame {
  readonly n: number
  readonly t: 's' | 'u' | 'h' | 'x' | 'r' | 'f' | 'l'
  /** What the check that comes with it says; absent: none does. */
  readonly check?: boolean
  /** Prices of the worst levels that are known. */
  readonly horizon?: readonly [bid: number | null, ask: number | null]
  /** Exchange time in ms; absent: none. */
  readonly ms?: number
  /** The symbol's sequence; absent: `n`. */
  readonly q?: number
  readonly i?: number
  readonly b?: FakeLevels
  readonly a?: FakeLevels
}

export function fill(changes: LevelChanges, bids: FakeLevels, asks: FakeLevels): LevelChanges {
  changes.reset()
  for (const [side, levels] of [[BID, bids], [ASK, asks]] as const) {
    for (const [price, size] of levels) {
      if (changes.count === changes.side.length) changes.grow()
      changes.side[changes.count] = side
      changes.price[changes.count] = price
      changes.size[changes.count] = size
      changes.count++
    }
  }
  return changes
}

class FakeSession implements Session {
  readonly stats = { scannerFallbacks: 0, unknownFrames: 0, duplicates: 0 }
  readonly heartbeatMs = 1000
  provenUs?: number
  heartbeats = 0
  readonly #symbols: readonly string[]
  readonly #output: SessionOutput
  readonly #options: FakeAdapterOptions
  readonly #changes = new Changes()
  readonly resyncAll?: (indexes: readonly number[]) => void
  readonly splice?: (index: number, nonce: number) => boolean
  refreshes: number[] = []
  #next = 0

  constructor(symbols: readonly string[], output: SessionOutput, options: FakeAdapterOptions) {
    this.#symbols = symbols
    this.#output = output
    this.#options = options
    if (options.batched !== false) {
      this.resyncAll = (indexes) => this.#output.send(`resync ${indexes.join(',')}`)
    }
    if (options.splice !== undefined) this.splice = options.splice
  }

  opened(): void {
    this.#output.send('subscribe')
    this.#output.send('heartbeats')
    if (this.#options.rest) this.#symbols.forEach((_, index) => this.#ask(index))
  }

  received(frame: Uint8Array, receivedUs: number): void {
    const message = JSON.parse(new TextDecoder().decode(frame)) as FakeFrame
    if (message.n < this.#next) {
      this.stats.duplicates++
      return
    }
    const lost = message.n > this.#next
    this.#next = message.n + 1
    if (lost) {
      for (let i = 0; i < this.#symbols.length; i++) {
        this.#output.suspect(i, 'gap', `frame ${message.n}`)
      }
      return
    }
    if (this.#options.lossScope !== 'symbol') this.provenUs = receivedUs
    if (message.t === 'l') {
      const symbol = message.i === undefined ? undefined : this.#symbols[message.i]
      const details = symbol === undefined
        ? { scope: 'connection', retryAfterMs: 7000 } as const
        : { scope: 'symbol', symbol, retryAfterMs: 7000 } as const
      return this.#output.fail(new ObfeedError('E_RATE_LIMITED', 'too many messages', details))
    }
    if (message.t === 'x') {
      const symbol = message.i === undefined ? undefined : this.#symbols[message.i]
      this.#output.fail(
        new ObfeedError('E_SUBSCRIBE', 'no such symbol', {
          scope: symbol === undefined ? 'connection' : 'symbol',
          ...(symbol === undefined ? {} : { symbol }),
        }),
      )
    }
    // A session may go on for a while after it has failed.
    if (message.t === 'h' || message.b === undefined && message.t === 'x') return
    if (message.t === 'r') return this.#output.retire('the fake exchange says so')
    const changes = fill(this.#changes, message.b ?? [], message.a ?? [])
    changes.nonce = message.q ?? message.n
    changes.timestampMs = message.ms ?? -1
    changes.receivedUs = receivedUs
    const { check, horizon } = message
    if (check !== undefined) changes.check = { holds: () => check }
    if (horizon !== undefined) {
      changes.bidHorizon = horizon[0] ?? NaN
      changes.askHorizon = horizon[1] ?? NaN
    }
    if (message.t === 'f') return this.#output.refreshed(message.i ?? 0, changes)
    if (message.t !== 'u') this.#output.snapshot(message.i ?? 0, changes)
    else this.#output.delta(message.i ?? 0, changes)
  }

  snapshotReceived(index: number, body: string, receivedUs: number): void {
    const { b, a } = JSON.parse(body) as { b: FakeLevels; a: FakeLevels }
    const changes = fill(this.#changes, b, a)
    changes.receivedUs = receivedUs
    this.#output.snapshot(index, changes)
  }

  resync(index: number): void {
    if (this.#options.rest === 'always') this.#ask(index)
    else this.#output.send(`resync ${index}`)
  }

  #ask(index: number): void {
    const url = `https://rest.example/depth?symbol=${this.#symbols[index]}`
    this.#output.requestSnapshot(index, url, 1)
  }

  refresh(index: number): void {
    this.refreshes.push(index)
  }

  heartbeat(): void {
    this.heartbeats++
    if (this.#options.pings === true) this.#output.send('ping')
  }
}

export interface FakeAdapterOptions {
  readonly limits?: Partial<Limits>
  /** Books come by REST when a socket opens, or `always`: also when they are asked for again. */
  readonly rest?: boolean | 'always'
  readonly batched?: boolean
  /** A message at every heartbeat. */
  readonly pings?: boolean
  readonly splice?: (index: number, nonce: number) => boolean
  readonly lossScope?: 'symbol' | 'connection'
}

/** Every session that was opened, in order; the first of each connection is a rehearsal. */
export interface FakeAdapter extends Adapter {
  readonly sessions: FakeSession[]
}

export function fakeAdapter(options: FakeAdapterOptions = {}): FakeAdapter {
  const sessions: FakeSession[] = []
  return {
    sessions,
    exchange: 'fake',
    protocol: {
      snapshot: options.rest ? 'rest' : 'inband',
      loss: 'sequence',
      lossScope: options.lossScope ?? 'connection',
      depth: 'full',
    },
    limits: {
      symbolsPerConnection: 10,
      framesPerSecond: 1000,
      connectsPerSecond: 1000,
      subscribeWithinMs: 5000,
      frameBytesMax: 1 << 26,
      ...options.limits,
    },
    url: () => 'wss://fake.example/ws?v=1',
    open(instruments, output) {
      const session = new FakeSession(instruments.map(({ symbol }) => symbol), output, options)
      sessions.push(session)
      return session
    },
  }
}

export function symbols(count: number): PlannedSymbol[] {
  return Array.from({ length: count }, (_, index) => ({
    symbol: `S${index}/USD`,
    wireSymbol: `S${index}-USD`,
    priceDecimals: 0,
    sizeDecimals: 0,
    partition: index,
  }))
}
