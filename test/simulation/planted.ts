/** Bugs planted at the seams of a worker, to prove that the worlds find them. Never in `src`. */
import type { LevelChanges } from '../../src/core/changes.ts'
import type { ObfeedError } from '../../src/core/errors.ts'
import type { InvalidReason } from '../../src/core/event.ts'
import type { Environment, SocketEvents } from '../../src/core/environment.ts'
import type { Instrument, PlannedSymbol } from '../../src/core/instrument.ts'
import {
  type Adapter,
  depthOf,
  type Session,
  type SessionOutput,
  type SessionStats,
} from '../../src/exchanges/adapter.ts'
import type { PartitionBatch, Wire, WireProducer } from '../../src/kafka/wire.ts'
import {
  type EventKind,
  KIND_INVALID,
  type Sink,
  type SinkEvents,
  type SinkStats,
} from '../../src/sinks/sink.ts'
import type { Planted } from './world.ts'

const encoder = new TextEncoder()
const decoder = new TextDecoder()
const SEQUENCE = /"sequence_num":(\d+)/

/** Sees every frame under an unbroken count, so that it never notices a loss. */
class BlindSession implements Session {
  readonly stats: SessionStats
  readonly #session: Session
  #next = 0
  #real = 0

  constructor(adapter: Adapter, instruments: readonly Instrument[], output: SessionOutput) {
    const truthful = (changes: LevelChanges): LevelChanges => {
      changes.nonce = this.#real
      return changes
    }
    this.#session = adapter.open(instruments, {
      send: (text) => output.send(text),
      snapshot: (index, changes) => output.snapshot(index, truthful(changes)),
      delta: (index, changes) => output.delta(index, truthful(changes)),
      suspect: (index, reason, detail) => output.suspect(index, reason, detail),
      refreshed: (index, changes) => output.refreshed(index, changes),
      requestSnapshot: (index, url, weight, delayMs) =>
        output.requestSnapshot(index, url, weight, delayMs),
      retire: (detail) => output.retire(detail),
      fail: (error) => output.fail(error),
    }, 0)
    this.stats = this.#session.stats
  }

  opened(): void {
    this.#session.opened()
  }

  received(frame: Uint8Array, receivedUs: number): void {
    const text = decoder.decode(frame)
    const found = SEQUENCE.exec(text)
    if (found === null || !text.endsWith('}')) return this.#session.received(frame, receivedUs)
    this.#real = Number(found[1])
    const counted = text.replace(SEQUENCE, `"sequence_num":${this.#next++}`)
    this.#session.received(encoder.encode(counted), receivedUs)
  }

  resync(index: number): void {
    this.#session.resync(index)
  }
}

/** Notices a gap, says nothing, and goes on with what the blind one makes of the frames. */
class StubbornSession implements Session {
  readonly stats: SessionStats
  readonly #strict: Session
  readonly #blind: Session
  #noticed = false

  constructor(adapter: Adapter, instruments: readonly Instrument[], output: SessionOutput) {
    const part = (active: () => boolean): SessionOutput => ({
      send: (text) => active() && output.send(text),
      snapshot: (index, changes) => active() && output.snapshot(index, changes),
      delta: (index, changes) => active() && output.delta(index, changes),
      suspect: (index: number, reason: InvalidReason, detail: string) => {
        if (reason === 'gap') this.#noticed = true
        else if (active()) output.suspect(index, reason, detail)
      },
      refreshed: (index, changes) => active() && output.refreshed(index, changes),
      requestSnapshot: (index, url, weight, delayMs) =>
        active() && output.requestSnapshot(index, url, weight, delayMs),
      retire: (detail) => active() && output.retire(detail),
      fail: (error: ObfeedError) => active() && output.fail(error),
    })
    this.#strict = adapter.open(instruments, part(() => !this.#noticed), 0)
    this.#blind = new BlindSession(adapter, instruments, part(() => this.#noticed))
    this.stats = this.#strict.stats
  }

  opened(): void {
    this.#strict.opened()
    this.#blind.opened()
  }

  received(frame: Uint8Array, receivedUs: number): void {
    if (!this.#noticed) this.#strict.received(frame, receivedUs)
    this.#blind.received(frame, receivedUs)
  }

  resync(index: number): void {
    this.#strict.resync(index)
    this.#blind.resync(index)
  }
}

/** After a failed send the batch goes out once more under a new identity. */
class ResendingWire implements Wire {
  readonly #wire: Wire

  constructor(wire: Wire) {
    this.#wire = wire
  }

  leaders(): Promise<ReadonlyMap<number, number>> {
    return this.#wire.leaders()
  }

  async open(leader: number): Promise<WireProducer> {
    const first = await this.#wire.open(leader)
    let current = first
    return {
      send: async (batches: readonly PartitionBatch[]) => {
        try {
          return await current.send(batches)
        } catch {
          void current.close()
          current = await this.#wire.open(leader)
          return current.send(batches)
        }
      },
      close: () => current.close(),
    }
  }

  close(): Promise<void> {
    return this.#wire.close()
  }
}

/** Changes or swallows what the feed hands over. */
abstract class MeddlingSink implements Sink {
  readonly stats: SinkStats
  readonly sink: Sink

  constructor(sink: Sink) {
    this.sink = sink
    this.stats = sink.stats
  }

  get recordBytesMax(): number {
    return this.sink.recordBytesMax
  }

  start(streams: readonly PlannedSymbol[], events: SinkEvents): Promise<void> {
    return this.sink.start(streams, events)
  }

  abstract push(
    stream: number,
    kind: EventKind,
    bytes: Uint8Array,
    start: number,
    end: number,
    timestampMs: number,
  ): boolean

  flush(timeoutMs: number): Promise<boolean> {
    return this.sink.flush(timeoutMs)
  }

  close(): Promise<void> {
    return this.sink.close()
  }
}

/** Every run of a symbol keeps the epoch of the first. */
class OneEpochSink extends MeddlingSink {
  readonly #epochs = new Map<number, string>()

  override push(
    stream: number,
    kind: EventKind,
    bytes: Uint8Array,
    start: number,
    end: number,
    timestampMs: number,
  ): boolean {
    const text = decoder.decode(bytes.subarray(start, end))
    const epoch = /"epoch":(\d+)/.exec(text)![1]!
    const first = this.#epochs.get(stream) ?? epoch
    this.#epochs.set(stream, first)
    const changed = encoder.encode(text.replace(`"epoch":${epoch}`, `"epoch":${first}`))
    return this.sink.push(stream, kind, changed, 0, changed.length, timestampMs)
  }
}

/** Keeps to itself that a socket was lost. */
class QuietSink extends MeddlingSink {
  override push(
    stream: number,
    kind: EventKind,
    bytes: Uint8Array,
    start: number,
    end: number,
    timestampMs: number,
  ): boolean {
    if (kind === KIND_INVALID) {
      const text = decoder.decode(bytes.subarray(start, end))
      if (text.includes('"reason":"disconnect"') && !text.includes('"seq":0,')) return true
    }
    return this.sink.push(stream, kind, bytes, start, end, timestampMs)
  }
}

/** Leaves what was published before it to itself. */
class MuteSuccessorSink extends MeddlingSink {
  override push(
    stream: number,
    kind: EventKind,
    bytes: Uint8Array,
    start: number,
    end: number,
    timestampMs: number,
  ): boolean {
    if (kind === KIND_INVALID) {
      const text = decoder.decode(bytes.subarray(start, end))
      if (text.includes('"seq":0,')) return true
    }
    return this.sink.push(stream, kind, bytes, start, end, timestampMs)
  }
}

type Open = new (
  adapter: Adapter,
  instruments: readonly Instrument[],
  output: SessionOutput,
) => Session

function opening(Mutant: Open): (adapter: Adapter) => Adapter {
  return (adapter) => ({
    ...adapter,
    open: (instruments, output) => new Mutant(adapter, instruments, output),
  })
}

/** An adapter of whose sessions parts are replaced. */
function altered(
  alterOutput: (output: SessionOutput) => Partial<SessionOutput>,
  alterSession: (session: Session) => void = () => {},
): (adapter: Adapter) => Adapter {
  return (adapter) => ({
    ...adapter,
    open(instruments, output, depth) {
      const session = adapter.open(instruments, {
        send: (text) => output.send(text),
        snapshot: (index, changes) => output.snapshot(index, changes),
        delta: (index, changes) => output.delta(index, changes),
        suspect: (index, reason, detail) => output.suspect(index, reason, detail),
        refreshed: (index, changes) => output.refreshed(index, changes),
        requestSnapshot: (index, url, weight, delayMs) =>
          output.requestSnapshot(index, url, weight, delayMs),
        retire: (detail) => output.retire(detail),
        fail: (error) => output.fail(error),
        ...alterOutput(output),
      }, depth)
      alterSession(session)
      return session
    },
  })
}

/** Checksums always hold. */
const unchecked = altered((output) => ({
  snapshot(index, changes) {
    changes.check = undefined
    output.snapshot(index, changes)
  },
  delta(index, changes) {
    changes.check = undefined
    output.delta(index, changes)
  },
}))

/** Sockets change over as soon as there is any book, however old: each passes for the newest. */
function hasty(adapter: Adapter): Adapter {
  let newestMs = 1
  const newest = (changes: LevelChanges): LevelChanges => {
    changes.timestampMs = newestMs++
    return changes
  }
  const blind = altered((output) => ({
    snapshot: (index, changes) => output.snapshot(index, newest(changes)),
    delta: (index, changes) => output.delta(index, newest(changes)),
  }))
  return { ...blind(adapter), protocol: { ...adapter.protocol, lossScope: 'connection' } }
}

const FIRST_ID = /"U":(\d+)/
const SNAPSHOT_ID = /"lastUpdateId":(\d+)/

/** The first event's `U` of this socket, by wire symbol. */
function firstIds(session: Session): Map<string, number> {
  const first = new Map<string, number>()
  const received = session.received.bind(session)
  session.received = (frame, receivedUs) => {
    const text = decoder.decode(frame)
    const symbol = /"s":"([^"]+)"/.exec(text)?.[1]
    const id = FIRST_ID.exec(text)?.[1]
    if (symbol !== undefined && id !== undefined && !first.has(symbol)) {
      first.set(symbol, Number(id))
    }
    received(frame, receivedUs)
  }
  return first
}

/** Whatever snapshot comes, it is taken to end where the first event begins. */
function anySnapshot(adapter: Adapter): Adapter {
  return {
    ...adapter,
    open(instruments, output, depth) {
      const session = adapter.open(instruments, output, depth)
      const first = firstIds(session)
      const answered = session.snapshotReceived!.bind(session)
      session.snapshotReceived = (index, body, receivedUs) => {
        const from = first.get(instruments[index]!.wireSymbol)
        const id = SNAPSHOT_ID.exec(body)?.[1]
        const isOld = from !== undefined && id !== undefined && Number(id) < from - 1
        const changed = isOld ? body.replace(SNAPSHOT_ID, `"lastUpdateId":${from - 1}`) : body
        answered(index, changed, receivedUs)
      }
      return session
    },
  }
}

/** The next socket goes on from its first event, wherever the old one stands. */
function anySplice(adapter: Adapter): Adapter {
  return {
    ...adapter,
    open(instruments, output, depth) {
      const session = adapter.open(instruments, output, depth)
      const first = firstIds(session)
      const splice = session.splice!.bind(session)
      session.splice = (index, nonce) => {
        if (splice(index, nonce)) return true
        const from = first.get(instruments[index]!.wireSymbol)
        return from !== undefined && from - 1 > nonce && splice(index, from - 1)
      }
      return session
    },
  }
}

/** A newer snapshot is taken as it is, without what has changed since. */
function forgetful(adapter: Adapter): Adapter {
  return {
    ...adapter,
    open(instruments, output, depth) {
      let levels = Infinity
      const alter = altered((real) => ({
        refreshed(index, changes) {
          changes.count = Math.min(changes.count, levels)
          real.refreshed(index, changes)
        },
      }))
      const session = alter(adapter).open(instruments, output, depth)
      const answered = session.snapshotReceived!.bind(session)
      session.snapshotReceived = (index, body, receivedUs) => {
        const { bids = [], asks = [] } = JSON.parse(body)
        levels = bids.length + asks.length
        answered(index, body, receivedUs)
      }
      return session
    },
  }
}

/** What a REST snapshot holds is taken for all there is, however much was asked for. */
function complacent(adapter: Adapter): Adapter {
  return {
    ...adapter,
    open(instruments, output, depth) {
      const asked = new Map<number, number>()
      const held = new Map<number, { bids: unknown[]; asks: unknown[] }>()
      const whole = (index: number, changes: LevelChanges): LevelChanges => {
        const { bids = [], asks = [] } = held.get(index) ?? {}
        const limit = asked.get(index) ?? 0
        if (bids.length < limit) changes.bidHorizon = NaN
        if (asks.length < limit) changes.askHorizon = NaN
        return changes
      }
      const alter = altered((real) => ({
        snapshot: (index, changes) => real.snapshot(index, whole(index, changes)),
        refreshed: (index, changes) => real.refreshed(index, whole(index, changes)),
        requestSnapshot(index, url, weight, delayMs) {
          asked.set(index, Number(new URL(url).searchParams.get('limit')))
          real.requestSnapshot(index, url, weight, delayMs)
        },
      }))
      const session = alter(adapter).open(instruments, output, depth)
      const answered = session.snapshotReceived!.bind(session)
      session.snapshotReceived = (index, body, receivedUs) => {
        held.set(index, JSON.parse(body))
        answered(index, body, receivedUs)
      }
      return session
    },
  }
}

/** Every update follows whatever came before it. */
const unchained = altered(() => ({}), (session) => {
  const last = new Map<string, string>()
  const received = session.received.bind(session)
  session.received = (frame, receivedUs) => {
    const text = decoder.decode(frame)
    const instrument = /"instId":"([^"]+)"/.exec(text)?.[1]
    const id = /"seqId":(\d+)/.exec(text)?.[1]
    if (instrument === undefined || id === undefined) return received(frame, receivedUs)
    const before = last.get(instrument)
    last.set(instrument, id)
    const isUpdate = before !== undefined && text.includes('"action":"update"')
    const changed = isUpdate ? text.replace(/"prevSeqId":\d+/, `"prevSeqId":${before}`) : text
    received(encoder.encode(changed), receivedUs)
  }
})

/** Asks for a lost book at every frame until it comes, as fast as it can. */
function impatient(adapter: Adapter): Adapter {
  return {
    ...adapter,
    limits: { ...adapter.limits, framesPerSecond: 1000 },
    open(instruments, output, depth) {
      const lost = new Set<number>()
      const alter = altered((real) => ({
        suspect(index, reason, detail) {
          lost.add(index)
          real.suspect(index, reason, detail)
        },
        snapshot(index, changes) {
          lost.delete(index)
          real.snapshot(index, changes)
        },
      }), (session) => {
        const received = session.received.bind(session)
        session.received = (frame, receivedUs) => {
          received(frame, receivedUs)
          for (const index of lost) session.resync(index)
        }
      })
      return alter(adapter).open(instruments, output, depth)
    },
  }
}

/** Believes a REST snapshot whatever the stream has shown: a second look is the same answer again. */
const credulous = altered(() => ({}), (session) => {
  const answered = session.snapshotReceived!.bind(session)
  session.snapshotReceived = (index, body, receivedUs) => {
    answered(index, body, receivedUs)
    answered(index, body, receivedUs + 11_000_000)
  }
})

/** Another one stands between a socket and its owner. */
function listened(
  environment: Environment,
  between: (events: SocketEvents) => Partial<SocketEvents>,
): Environment {
  return new Proxy(environment, {
    get(target, name) {
      if (name !== 'openSocket') {
        const value: unknown = Reflect.get(target, name)
        return typeof value === 'function' ? value.bind(target) : value
      }
      return (url: string, events: SocketEvents, frameBytesMax: number) =>
        target.openSocket(url, {
          opened: () => events.opened(),
          received: (frame) => events.received(frame),
          alive: () => events.alive(),
          closed: (code, reason, refusal) => events.closed(code, reason, refusal),
          ...between(events),
        }, frameBytesMax)
    },
  })
}

/** Pings and pongs say nothing to it. */
function pingless(environment: Environment): Environment {
  return listened(environment, () => ({ alive() {} }))
}

/** Takes every refused upgrade for a line that broke. */
function undaunted(environment: Environment): Environment {
  return listened(environment, (events) => ({
    closed: (code, reason) => events.closed(code, reason),
  }))
}

/** Stays on its socket until the exchange ends it. */
function stubborn(adapter: Adapter): Adapter {
  const { lifetimeMs: _, ...limits } = adapter.limits
  return { ...altered(() => ({ retire: () => {} }))(adapter), limits }
}

export interface PlantedBug {
  readonly planted: Planted
  /** Absent: worlds of all exchanges find it. */
  readonly exchange?: string
  /** The first seed of those that must find it. */
  readonly from?: number
}

/** By name, as `scripts/worlds --bug NAME` takes them. */
export const PLANTED: Readonly<Record<string, PlantedBug>> = {
  'skip-sequence-check': { exchange: 'coinbase', planted: { adapter: opening(BlindSession) } },
  'publish-after-gap': { exchange: 'coinbase', planted: { adapter: opening(StubbornSession) } },
  'resend-as-new': { planted: { wire: (wire) => new ResendingWire(wire) } },
  'keep-epoch': { planted: { sink: (sink) => new OneEpochSink(sink) } },
  'forget-epoch-floor': { planted: { epochFloor: () => 1 } },
  'mute-successor': { planted: { sink: (sink) => new MuteSuccessorSink(sink) } },
  'hide-disconnect': { planted: { sink: (sink) => new QuietSink(sink) } },
  'skip-checksum': { exchange: 'kraken', planted: { adapter: unchecked } },
  'skip-checksum-frame': { exchange: 'bitfinex', from: 38, planted: { adapter: unchecked } },
  'keep-beyond-window': {
    exchange: 'kraken',
    planted: {
      adapter: (adapter) => ({
        ...adapter,
        depth: (wanted) => ({ ...depthOf(adapter, wanted), kept: Infinity }),
      }),
    },
  },
  'skip-chain': { exchange: 'okx', planted: { adapter: unchained } },
  'resync-storm': { exchange: 'bybit', planted: { adapter: impatient } },
  'join-any-snapshot': { exchange: 'binance', from: 18, planted: { adapter: anySnapshot } },
  'splice-anywhere': { exchange: 'binance', planted: { adapter: anySplice } },
  'refresh-without-changes': { exchange: 'binance', from: 33, planted: { adapter: forgetful } },
  'short-snapshot-whole': { exchange: 'binance', planted: { adapter: complacent } },
  'believe-stale-snapshot': { exchange: 'binance', planted: { adapter: credulous } },
  'ping-not-counted': { planted: { environment: pingless } },
  'handover-backwards': { exchange: 'okx', planted: { adapter: hasty } },
  'handover-backwards-in-time': { exchange: 'coinbase', planted: { adapter: hasty } },
  'ignore-retry-after': { planted: { environment: undaunted } },
  'ignore-retirement': { exchange: 'bitfinex', planted: { adapter: stubborn } },
}

export interface Regression extends PlantedBug {
  readonly seed: number
  readonly exchange: string
}

/** Bugs that worlds found in the product, planted again, each with a seed that finds it. */
export const REGRESSIONS: Readonly<Record<string, Regression>> = {
  /**
   * The clock was set back, a symbol began a run, and its worker was killed before it told: the
   * next life, told only of the epochs it had heard of, began the same epoch again.
   */
  'reported-epoch-floor': {
    seed: 309,
    exchange: 'coinbase',
    planted: { epochFloor: (_floor, reported) => reported },
  },
}
