/**
 * One seeded world: a whole worker between a simulated exchange, network and Kafka cluster, a
 * schedule of faults, and the oracle. The same seed is the same world, to the last event.
 */
import { EpochFloor } from '../../src/agent/epochs.ts'
import type { Environment } from '../../src/core/environment.ts'
import type { PlannedSymbol } from '../../src/core/instrument.ts'
import { type Adapter, depthOf } from '../../src/exchanges/adapter.ts'
import { adapters } from '../../src/exchanges/index.ts'
import { Feed } from '../../src/feed/feed.ts'
import { Publisher } from '../../src/kafka/publisher.ts'
import type { Wire } from '../../src/kafka/wire.ts'
import { parseSymbol, type ProductSpec } from '../../src/simulator/products.ts'
import { twins } from '../../src/simulator/registry.ts'
import type { Twin } from '../../src/simulator/twin.ts'
import type { Sink } from '../../src/sinks/sink.ts'
import { type BrokerFaults, SimulatedCluster, type SimulatedWire } from './broker.ts'
import { Random, VirtualClock } from './clock.ts'
import { VirtualEnvironment } from './environment.ts'
import { ExchangeHost, type SubscribeFaults } from './exchange.ts'
import { type NetworkFaults, SimulatedNetwork } from './network.ts'
import { Oracle } from './oracle.ts'
import { shallow } from './shallow.ts'
import { Tally } from './tally.ts'
import { Witness } from './witness.ts'

/** The exchanges that worlds are made of. */
export const EXCHANGES: readonly string[] = Object.keys(twins)
  .filter((name) => Object.hasOwn(adapters, name))
  .sort()

/** The exchange of a seed. */
export function exchangeOf(seed: number): string {
  return EXCHANGES[seed % EXCHANGES.length]!
}

/** Seams at which a test may plant a bug; absent: the product as it is. */
export interface Planted {
  adapter?(adapter: Adapter): Adapter
  /** Between feed and sink. */
  sink?(sink: Sink): Sink
  wire?(wire: Wire): Wire
  /** What a restarted worker is told instead of `floor`; `reported`: the highest it ever told. */
  epochFloor?(floor: number, reported: number): number
  /** What a worker uses instead of its own. */
  environment?(environment: Environment): Environment
}

export interface WorldResult {
  readonly seed: number
  readonly exchange: string
  /** The first rule broken. */
  readonly failure: string | undefined
  readonly events: number
  readonly virtualS: number
  readonly records: number
  readonly compared: number
  readonly faults: ReadonlyMap<string, number>
  /** Changes with anything that happened: two runs of a seed give the same. */
  readonly digest: number
}

export interface WorldOptions {
  /** Absent: `exchangeOf` the seed. */
  readonly exchange?: string
  readonly planted?: Planted
  readonly trace?: (line: string) => void
}

/** Of the exchange that has had worlds for longest: its seeds stay what they are. */
const COINBASE_PRODUCTS = [
  { symbol: 'BTC/USD', price: 78856.05, quoteIncrement: '0.01', baseIncrement: '0.00000001' },
  { symbol: 'DOGE/USD', price: 0.16234, quoteIncrement: '0.00001', baseIncrement: '0.1' },
  { symbol: 'ETH/EUR', price: 2601.5, quoteIncrement: '0.5', baseIncrement: '0.0001' },
  { symbol: 'SOL/USD', price: 152.31, quoteIncrement: '0.01', baseIncrement: '0.001' },
]
const BASES = ['BTC', 'DOGE', 'ETH', 'SOL', 'XRP']
/** What the exchanges call the announcement that a connection will end. */
const RETIREMENTS: Readonly<Record<string, string>> = {
  binance: 'shutdown',
  bitfinex: 'restart',
  okx: 'notice',
}
/** A version is one change there; more would be several frames, with books in between. */
const ONE_BY_ONE = new Set(['bitfinex', 'bitmex'])
const WALL_START_US = 1_795_362_721_000_000
/** How far the server of a socket may be behind the others. */
const LAG_US_MAX = 4e6
/** How long every book may take to be valid and current once the faults have ended. */
const RECOVERY_US = 240e6
/** The same for books whose loss shows in nothing but silence. */
const SILENCE_US = 4500e6
/** The same for books of a worker that is gone to be called invalid, whatever the exchange does. */
const TAKEN_BACK_US = 3e6
/** Levels a side that a checksum covers. */
const CHECKSUM_DEPTH = 10
/** A socket that is not there any more is found within this time. */
const DEAD_SOCKET_US = 15e6
/** A socket that says nothing is found out in its time, and the rest goes on from there. */
const AFTER_SILENCE_US = 120e6
/** The parent hears of a worker's epochs once a second. */
const REPORT_US = 1e6
const STALL_WORLD_US = 34e6
/** Longer than a socket may say nothing. */
const STANDSTILL_US = 20e6
const LOOK_US = 250_000

/** What one incarnation of the worker consists of. */
interface Worker {
  readonly environment: VirtualEnvironment
  readonly wire: SimulatedWire
  readonly sink: Sink
  readonly feed: Feed
}

export async function runWorld(seed: number, options: WorldOptions = {}): Promise<WorldResult> {
  const world = new World(seed, options)
  await world.live()
  return world.result()
}

class World {
  readonly #seed: number
  readonly #adapter: Adapter
  readonly #twin: Twin
  /** Levels a side of its REST snapshots; Infinity: as many as it sends. */
  #levelsKnown = Infinity
  /** Nothing goes wrong in this world but sockets that end after announcement. */
  readonly #calm: boolean
  readonly #witness: Witness
  readonly #planted: Planted
  readonly #random: Random
  readonly #clock = new VirtualClock(WALL_START_US)
  readonly #tally: Tally
  readonly #symbols: readonly PlannedSymbol[]
  readonly #connections: readonly (readonly PlannedSymbol[])[]
  readonly #oracle: Oracle
  readonly #network: SimulatedNetwork
  readonly #exchange: ExchangeHost
  readonly #cluster: SimulatedCluster
  readonly #depth: number
  readonly #publish: 'delta' | 'book'
  readonly #snapshotIntervalMs: number
  readonly #publisher: {
    readonly whenFull: 'conflate' | 'block'
    readonly queueBytesMax: number
    readonly queueAgeMsMax: number
    readonly deliveryTimeoutMs: number
  }
  #faultsUs: number
  /** Some symbol's stream ends without a word, and there is time to find out. */
  readonly #stalls: boolean
  #worker: Worker | undefined
  readonly #epochs = new EpochFloor()
  #epochReported = 0
  #incarnations = 0
  #handovers = 0
  /** Sockets that the running worker took for dead, and those before it. */
  #stale = 0
  #deaths = 0
  /** The running worker has not got through yet that what was published before is not valid. */
  #mustTakeBack = false
  #steppedUs = -Infinity
  #healed = false
  #digest = 0

  constructor(seed: number, options: WorldOptions) {
    this.#seed = seed
    this.#planted = options.planted ?? {}
    const random = new Random(seed, 'world')
    this.#random = random
    const trace = options.trace
    const clock = this.#clock
    this.#tally = new Tally(
      trace === undefined
        ? undefined
        : (line) => trace(`${(clock.timeUs / 1e6).toFixed(6)} ${line}`),
    )
    const tally = this.#tally
    this.#witness = new Witness(tally)
    this.#depth = random.pick([1, 5, 5, 5, 8, 10, 10, 0])
    this.#publish = random.chance(0.15) ? 'book' : 'delta'
    this.#snapshotIntervalMs = random.int(2_000, 12_000)
    this.#publisher = {
      whenFull: random.chance(0.2) ? 'block' : 'conflate',
      queueBytesMax: random.pick([12_000, 60_000, 1_000_000]),
      queueAgeMsMax: random.pick([1_500, 5_000, 30_000]),
      deliveryTimeoutMs: random.pick([2_500, 10_000, 30_000]),
    }
    const count = random.int(2, 4)
    const partitions = random.int(1, 3)
    this.#faultsUs = random.int(10, 25) * 1e6

    const name = options.exchange ?? exchangeOf(seed)
    const twin = twins[name]
    const plain = adapters[name]
    if (twin === undefined || plain === undefined) throw new Error(`there is no ${name} here`)
    this.#twin = twin
    // Apart from the rest, so that what is new here leaves the old worlds as they were.
    const kind = new Random(seed, 'kind')
    this.#calm = kind.chance(0.15)
    if (this.#calm) {
      this.#publisher = { ...CALM_PUBLISHER, whenFull: this.#publisher.whenFull }
    }
    const isShort = kind.chance(this.#calm ? 0.9 : 0.35)
    const isWide = kind.chance(0.25)
    // Where a REST answer can hide it, a dead stream must not be rare.
    const stalling = plain.protocol.snapshot === 'rest' ? 0.45 : 0.15
    this.#stalls = !this.#calm && new Random(seed, 'stalls').chance(stalling)
    if (this.#stalls) this.#faultsUs = STALL_WORLD_US
    if (isWide && name !== 'coinbase') {
      // Room for a snapshot of each.
      const queueBytesMax = Math.max(300_000, this.#publisher.queueBytesMax)
      this.#publisher = { ...this.#publisher, queueBytesMax }
    }
    const quote = kind.pick(twin.rules.listing.quotes)
    const symbols: readonly (ProductSpec | string)[] = name === 'coinbase'
      ? COINBASE_PRODUCTS
      : BASES.map((base) => `${base}/${quote}`).filter((symbol) => {
        const parts = parseSymbol(symbol)!
        return parts.base !== parts.quote && twin.rules.listing.wireSymbol(parts) !== undefined
      })
    const levels = random.int(10, 40)
    this.#exchange = new ExchangeHost(clock, new Random(seed, 'exchange'), tally, twin, {
      symbols: symbols.slice(0, count),
      seed,
      // Beyond what some windows hold.
      levels: isWide && name !== 'coinbase' ? kind.pick([60, 120, 240]) : levels,
      rate: random.int(6, 24),
      updates: random.int(1, 5),
      skew: random.pick([0, 0.7]),
      history: 2048,
      pushMs: ONE_BY_ONE.has(name) ? 0 : kind.pick([0, 0, 0, 100]),
      // A snapshot from before the subscription is one that has to be asked for again.
      ...(this.#calm ? { restLag: { older: 0, newer: 2 } } : {}),
    })
    this.#symbols = this.#exchange.exchange.products.map((product) => ({
      symbol: product.symbol,
      wireSymbol: product.wireSymbol,
      priceDecimals: product.priceDecimals,
      sizeDecimals: product.sizeDecimals,
      partition: random.int(0, partitions - 1),
    }))
    const split = random.int(0, this.#symbols.length - 1)
    this.#connections = split === 0
      ? [this.#symbols]
      : [this.#symbols.slice(0, split), this.#symbols.slice(split)]
    const { connectsPerSecond } = plain.limits
    const lifetimeMs = Math.max(
      kind.int(5_000, 15_000),
      (1500 * this.#connections.length) / connectsPerSecond,
    )
    this.#adapter = isShort ? { ...plain, limits: { ...plain.limits, lifetimeMs } } : plain
    const { protocol } = plain
    // Not so few that they are used up before more can be asked for.
    const levelsKnown = this.#depth + (this.#calm ? 30 : kind.int(2, 8))
    if (protocol.snapshot === 'rest' && this.#depth > 0 && kind.chance(0.6)) {
      this.#levelsKnown = levelsKnown
    }
    this.#oracle = new Oracle(
      {
        symbols: this.#symbols,
        depth: depthOf(this.#cut(plain), this.#depth).view,
        numbered: protocol.loss === 'sequence' || protocol.loss === 'both',
        byConnection: protocol.lossScope === 'connection',
        provenDepth: protocol.loss === 'checksum' ? CHECKSUM_DEPTH : Infinity,
        finite: protocol.snapshot === 'rest',
        publish: this.#publish,
        queueBytesMax: this.#publisher.queueBytesMax,
        replicas: seed % 4 === 0,
      },
      this.#witness,
      tally,
    )
    this.#cluster = new SimulatedCluster(clock, new Random(seed, 'broker'), tally, {
      brokers: random.int(2, 3),
      partitions,
    }, (record) => this.#oracle.stored(record))
    this.#network = new SimulatedNetwork(
      clock,
      new Random(seed, 'network'),
      tally,
      this.#oracle,
      (socket) => this.#exchange.accept(socket),
    )
    const lag = new Random(seed, 'lag')
    const lagging = this.#calm ? 0 : lag.pick([0, 0, 0, 0.3, 0.6])
    this.#network.lagUs = () => {
      if (!lag.chance(lagging)) return 0
      tally.count('server behind')
      return Math.floor(LAG_US_MAX * Math.exp(-5 * lag.next()))
    }
    this.#oracle.attach(this.#exchange, this.#network)
    tally.trace(() =>
      `world ${seed} of ${name}: depth ${this.#depth}, publish ${this.#publish}, snapshots every ` +
      `${this.#snapshotIntervalMs} ms, ${JSON.stringify(this.#publisher)}, ` +
      this.#connections.map((list) => list.map((one) => `${one.symbol}@${one.partition}`).join(' '))
        .join(' | ') +
      (isShort ? `, lifetime ${Math.round(lifetimeMs)} ms` : '') +
      (this.#calm ? ', calm' : '')
    )
  }

  async live(): Promise<void> {
    this.#startWorker()
    if (this.#calm) this.#scheduleCalm()
    else {
      this.#scheduleFaults()
      this.#scheduleMore()
    }
    this.#every(REPORT_US, () => this.#report())
    this.#every(LOOK_US, () => this.#look())
    await this.#run(this.#faultsUs, () => false)
    this.#heal()
    await this.#run(this.#clock.timeUs + 2e6, () => false)
    this.#exchange.pause()
    if (this.#adapter.protocol.snapshot === 'rest') this.#exchange.nudge()
    const silenceUs = DEAD_SOCKET_US + AFTER_SILENCE_US
    await this.#recover(Math.max(RECOVERY_US, silenceUs), false)
    await this.#standStill()
    this.#checkCalm()
    await this.#recover(SILENCE_US, true)
    await this.#succeed()
    if (this.#ended) return
    await this.#stop()
  }

  result(): WorldResult {
    for (const { kind } of this.#exchange.exchange.declared) this.#tally.count(`exchange: ${kind}`)
    return {
      seed: this.#seed,
      exchange: this.#twin.rules.exchange,
      failure: this.#tally.failure,
      events: this.#clock.events,
      virtualS: this.#clock.timeUs / 1e6,
      records: this.#oracle.records,
      compared: this.#oracle.compared,
      faults: this.#tally.faults,
      digest: this.#digest,
    }
  }

  get #ended(): boolean {
    return this.#tally.failure !== undefined
  }

  async #run(untilUs: number, done: () => boolean): Promise<void> {
    if (this.#ended) return
    await this.#clock.run(untilUs, () => this.#settled(), () => this.#ended || done())
  }

  /** After every event. */
  #settled(): void {
    const { timeUs } = this.#clock
    this.#digest = (Math.imul(this.#digest, 31) + timeUs + this.#oracle.records) | 0
    const worker = this.#worker
    if (worker === undefined) return
    const { stats } = worker.sink
    this.#oracle.settled()
    this.#oracle.check(stats, this.#exchange.broken)
    if (!this.#mustTakeBack || !stats.connected || stats.queuedRecords > 0) return
    this.#mustTakeBack = false
    const orphan = this.#oracle.orphan()
    if (orphan !== undefined) {
      this.#tally.violation(`${orphan} is still valid, its worker was replaced by one that is mute`)
    }
  }

  #every(periodUs: number, what: () => void): void {
    this.#clock.after(periodUs, () => {
      what()
      this.#every(periodUs, what)
    })
  }

  #cut(adapter: Adapter): Adapter {
    return this.#levelsKnown === Infinity ? adapter : shallow(adapter, this.#levelsKnown)
  }

  // ---- the worker and what the parent does for it

  #startWorker(): void {
    const { clock, planted } = { clock: this.#clock, planted: this.#planted }
    const number = this.#incarnations++
    const environment = new VirtualEnvironment(
      clock,
      new Random(this.#seed, `worker ${number}`),
      this.#network,
      (url) => this.#exchange.rest(url),
    )
    this.#exchange.workerStarted()
    this.#network.told(0)
    this.#deaths += this.#stale
    this.#stale = 0
    this.#handovers = 0
    const wire = this.#cluster.connect()
    const publisher = new Publisher(
      this.#publisher,
      environment,
      planted.wire?.(wire) ?? wire,
    )
    const watched = this.#oracle.watch(publisher)
    const sink = planted.sink?.(watched) ?? watched
    const planned = planted.adapter?.(this.#adapter) ?? this.#adapter
    const floor = this.#epochs.begin(clock.nowUs() / 1000, clock.timeUs / 1000)
    const feed = new Feed(
      {
        adapter: this.#witness.watch(this.#cut(planned), () => this.#network.opening),
        plan: { id: 0, connections: this.#connections, budgetShare: 1 },
        depth: this.#depth,
        publish: this.#publish,
        snapshotIntervalMs: this.#snapshotIntervalMs,
        published: this.#oracle.published,
        epochFloor: number > 0 && planted.epochFloor !== undefined
          ? planted.epochFloor(floor, this.#epochReported)
          : floor,
        onFatal: (error) => {
          if (environment.alive) this.#tally.violation(`the worker gave up: ${error.message}`)
        },
        onNotice: (level, message) => this.#tally.trace(() => `${level}: ${message}`),
      },
      planted.environment?.(environment) ?? environment,
      sink,
    )
    const worker = { environment, wire, sink, feed }
    this.#worker = worker
    this.#mustTakeBack = number > 0
    this.#oracle.begun()
    sink.start(feed.streams, feed.sinkEvents).catch((error: Error) => {
      if (!environment.alive) return
      this.#tally.trace(() => `the sink did not start: ${error.message}`)
      this.#restart(worker, 'sink did not start')
    })
    feed.start()
    this.#report()
  }

  /** As after kill -9: nothing is said any more, what is under way may still arrive. */
  #kill(): void {
    const worker = this.#worker
    if (worker === undefined) return
    worker.environment.alive = false
    worker.wire.dead = true
    this.#worker = undefined
    this.#network.abandonAll()
    this.#oracle.killed()
  }

  #restart(worker: Worker, fault: string): void {
    if (this.#worker !== worker) return
    this.#tally.count(fault)
    this.#kill()
    this.#clock.after(this.#random.int(1_100_000, 3_000_000), () => this.#startWorker())
  }

  #report(): void {
    const stats = this.#worker?.feed.stats
    if (stats !== undefined) {
      this.#epochReported = stats.epochMax
      this.#epochs.reported(stats.epochMax)
      this.#checkDeaths(stats.reconnects['stale'] ?? 0)
      const handovers = stats.reconnects['lifetime'] ?? 0
      for (; this.#handovers < handovers; this.#handovers++) this.#tally.count('handover')
    }
    this.#epochs.clock(this.#clock.nowUs() / 1000, this.#clock.timeUs / 1000)
  }

  /** A socket is given up for its silence only where nothing came through any more. */
  #checkDeaths(stale: number): void {
    const dead = this.#deaths + stale
    this.#stale = stale
    if (dead <= this.#network.deadly) return
    this.#tally.violation(
      `${dead} sockets were taken for dead, ${this.#network.deadly} can have been`,
    )
  }

  #look(): void {
    const stats = this.#worker?.sink.stats
    this.#oracle.checkAge()
    this.#tally.trace(() => `queue: ${stats?.queuedRecords} records, ${stats?.queuedBytes} bytes`)
  }

  async #recover(withinUs: number, silent: boolean): Promise<void> {
    let waitsFor = this.#unfinished(silent)
    let looksAtUs = 0
    await this.#run(this.#clock.timeUs + withinUs, () => {
      if (this.#clock.timeUs < looksAtUs) return false
      looksAtUs = this.#clock.timeUs + LOOK_US
      waitsFor = this.#unfinished(silent)
      return waitsFor === undefined
    })
    if (waitsFor === undefined || this.#ended) return
    this.#tally.violation(`${withinUs / 1e6} s after the faults ended ${waitsFor}`)
  }

  /** What keeps this world from being whole again; undefined: nothing. */
  #unfinished(silent: boolean): string | undefined {
    const worker = this.#worker
    if (worker === undefined) return 'there is no worker'
    const { connected, queuedRecords } = worker.sink.stats
    if (!connected || queuedRecords > 0) return `${queuedRecords} records wait in the sink`
    for (const { symbol, state } of worker.feed.stats.books) {
      if (state !== 'live' && !this.#exchange.exchange.isDelisted(symbol)) {
        return `${symbol} is ${state} in the worker`
      }
    }
    return this.#oracle.unfinished(silent)
  }

  /** A market in which nothing happens costs nobody a socket or a book. */
  async #standStill(): Promise<void> {
    if (!this.#calm) return
    await this.#run(this.#clock.timeUs + STANDSTILL_US, () => false)
    await this.#recover(RECOVERY_US, false)
  }

  /** Where nothing else went wrong, a socket that is replaced in time disturbs nobody. */
  #checkCalm(): void {
    const worker = this.#worker
    if (!this.#calm || this.#ended || worker === undefined) return
    const disturbance = this.#oracle.disturbance()
    if (disturbance !== undefined) this.#tally.violation(`${disturbance} in a calm world`)
    // A socket that has nothing to subscribe any more may be closed.
    const { exchange } = this.#exchange
    if (exchange.products.some(({ symbol }) => exchange.isDelisted(symbol))) return
    for (const [reason, count] of Object.entries(worker.feed.stats.reconnects)) {
      if (reason === 'lifetime') continue
      this.#tally.violation(`${count} sockets were lost (${reason}) in a calm world`)
    }
  }

  /** In some worlds the worker dies once more, and its successor does not reach the exchange. */
  async #succeed(): Promise<void> {
    const worker = this.#worker
    if (this.#ended || worker === undefined) return
    if (!new Random(this.#seed, 'succession').chance(0.25)) return
    this.#network.unreachable = true
    this.#tally.count('succession without the exchange')
    this.#kill()
    this.#startWorker()
    const stillValid = (): string | undefined => this.#oracle.stillValid()
    await this.#run(this.#clock.timeUs + TAKEN_BACK_US, () => stillValid() === undefined)
    if (this.#ended) return
    const valid = stillValid()
    if (valid !== undefined) {
      this.#tally.violation(
        `${valid} is still valid ${TAKEN_BACK_US / 1e6} s after its worker was replaced`,
      )
    }
    this.#network.unreachable = false
    await this.#recover(RECOVERY_US, false)
  }

  /** A clean end: every stream says so, and everything that was said is stored. */
  async #stop(): Promise<void> {
    const worker = this.#worker
    if (worker === undefined) return this.#tally.violation('there is no worker at the end')
    worker.feed.drain()
    let flushed: boolean | undefined
    void worker.sink.flush(10_000).then((complete) => flushed = complete)
    await this.#run(this.#clock.timeUs + 11e6, () => flushed !== undefined)
    if (this.#ended) return
    if (flushed !== true) this.#tally.violation(`flush after the drain gave ${flushed}`)
    const valid = this.#oracle.stillValid()
    if (valid !== undefined) this.#tally.violation(`${valid} is still valid after the shutdown`)
    void worker.sink.close()
    worker.environment.alive = false
  }

  // ---- faults

  #scheduleFaults(): void {
    const random = new Random(this.#seed, 'faults')
    const network: NetworkFaults = {
      drop: some(random, 0.5, 0.1),
      duplicate: some(random, 0.4, 0.2),
      reorder: some(random, 0.3, 0.1),
      delay: some(random, 0.3, 0.1),
      cut: some(random, 0.3, 0.1),
      disconnect: some(random, 0.3, 0.03),
      halfOpen: some(random, 0.3, 0.02),
      refuse: some(random, 0.3, 0.5),
      hang: some(random, 0.3, 0.6),
    }
    const broker: BrokerFaults = {
      lostAck: some(random, 0.4, 0.1),
      lostRequest: some(random, 0.3, 0.05),
      rejected: some(random, 0.3, 0.03),
      neverAnswers: some(random, 0.3, 0.1),
      abandoned: some(random, 0.3, 0.05),
      missingPartition: some(random, 0.4, 0.9),
      refused: some(random, 0.3, 0.4),
    }
    const subscribe: SubscribeFaults = {
      refused: some(random, 0.3, 0.6),
      ignored: some(random, 0.3, 0.8),
      slow: some(random, 0.3, 0.9),
    }
    // A quiet beginning, so that the worlds do not all spend their time on the first subscription.
    const quietUs = random.chance(0.5) ? 0 : random.int(1, 4) * 1e6
    const isHonest = this.#adapter.protocol.loss !== 'none'
    const isRest = this.#adapter.protocol.snapshot === 'rest'
    this.#clock.after(quietUs, () => {
      // What nothing can prove must not be.
      this.#network.faults = isHonest
        ? { ...this.#network.faults, ...network }
        : { ...this.#network.faults, ...network, drop: 0, duplicate: 0, reorder: 0 }
      this.#cluster.faults = broker
      this.#exchange.subscribeFaults = subscribe
      for (const kind of ['wrong-snapshot', 'crossed', 'stall'] as const) {
        const probability = some(random, 0.15, kind === 'wrong-snapshot' ? 0.3 : 0.01)
        if (probability === 0) continue
        const variant = random.chance(0.5) && isHonest ? 'missing' : 'stale'
        // What crosses may be gone when the snapshot and what came meanwhile are one book.
        if (isRest) continue
        this.#exchange.exchange.inject({ kind, probability, count: 5, variant })
      }
    })
    const kinds: readonly [chance: number, most: number, strike: () => void][] = [
      [0.2, 3, () => this.#network.breakAll()],
      [0.25, 2, () => this.#outage(random)],
      [0.3, 3, () => this.#stallBroker(random)],
      [0.3, 2, () => this.#crashBroker(random)],
      [0.3, 6, () => this.#moveLeader(random)],
      [0.3, 4, () => this.#stepClock(random)],
      [0.25, 2, () => this.#worker !== undefined && this.#restart(this.#worker, 'worker killed')],
      [0.15, 2, () => void this.#drainAndRestart(random)],
      [0.25, 2, () => this.#slowLine(random)],
      [0.6, 1, () => this.#joinLate(random)],
    ]
    for (const [chance, most, strike] of kinds) {
      if (!random.chance(chance)) continue
      for (let n = random.int(1, most); n > 0; n--) {
        this.#clock.after(random.int(500_000, this.#faultsUs), () => {
          if (!this.#healed && !this.#ended) strike()
        })
      }
    }
  }

  /** What the worlds of one exchange alone did not have. */
  #scheduleMore(): void {
    const random = new Random(this.#seed, 'more faults')
    const { exchange } = this.#exchange
    if (this.#stalls) {
      // When its rhythm is known, a stream ends without a word.
      this.#clock.after(random.int(8_000_000, 11_000_000), () => {
        exchange.inject({ kind: 'stall', probability: 1, count: random.int(1, 3) })
      })
    }
    this.#clock.after(random.int(0, 3_000_000), () => {
      if (this.#healed) return
      this.#network.faults = {
        ...this.#network.faults,
        httpLost: some(random, 0.3, 0.5),
        httpSlow: some(random, 0.4, 0.8),
      }
      for (const kind of Object.keys(this.#twin.rules.faults ?? {})) {
        if (!random.chance(0.4)) continue
        exchange.inject({ kind, everyMs: random.int(1_000, 12_000), count: random.int(1, 3) })
      }
      if (this.#twin.rules.hasChecksum === true && random.chance(0.4)) {
        exchange.inject({
          kind: 'wrong-snapshot',
          probability: 0.4,
          count: random.int(1, 5),
          variant: 'missing',
        })
      }
      if (random.chance(0.3)) {
        this.#restErrors(random)
        exchange.inject({ kind: 'rest-lag', probability: 0.3, count: random.int(1, 6) })
      }
      if (random.chance(0.1)) this.#delist(random)
    })
    // Apart, so that the worlds without it stay as they were.
    const short = new Random(this.#seed, 'short answers')
    if (this.#depth === 0 && this.#adapter.protocol.snapshot === 'rest' && short.chance(0.7)) {
      exchange.inject({ kind: 'rest-short', probability: 0.5, count: short.int(2, 8) })
    }
  }

  #restErrors(random: Random, variants = ['429', '418', '500', '503', 'timeout']): void {
    const variant = random.pick(variants)
    const fault = { kind: 'rest-error', probability: 0.5, count: random.int(1, 6), variant }
    this.#exchange.exchange.inject(fault)
  }

  #delist(random: Random): void {
    const { symbol } = random.pick(this.#exchange.exchange.products)
    this.#exchange.exchange.inject({ kind: 'delist', symbol, after: random.int(0, 100) })
  }

  /** Only what a worker can be prepared for: it must not show. */
  #scheduleCalm(): void {
    const random = new Random(this.#seed, 'calm')
    const { exchange } = this.#exchange
    const retirement = RETIREMENTS[this.#twin.rules.exchange]
    if (retirement !== undefined && random.chance(0.5)) {
      this.#clock.after(random.int(3_000_000, 12_000_000), () => {
        exchange.inject({ kind: retirement, count: random.int(1, 2) })
      })
    }
    // One that names a time would hold new sockets back, too, and be no calm.
    if (random.chance(0.3)) this.#restErrors(random, ['500', 'timeout'])
    if (random.chance(0.3)) this.#delist(random)
    for (let n = random.int(0, 3); n > 0; n--) {
      this.#clock.after(random.int(500_000, this.#faultsUs), () => {
        if (!this.#healed) this.#slowLine(random)
      })
    }
  }

  #heal(): void {
    this.#healed = true
    this.#tally.trace(() => 'the faults end')
    this.#network.faults = { ...this.#network.faults, ...HEALED_NETWORK }
    this.#network.unreachable = false
    this.#network.extraLatencyUs = 0
    this.#exchange.heal()
    this.#cluster.heal()
  }

  #outage(random: Random): void {
    this.#tally.count('exchange outage')
    this.#network.unreachable = true
    this.#network.breakAll()
    this.#clock.after(random.int(200_000, 8_000_000), () => this.#network.unreachable = false)
  }

  #stallBroker(random: Random): void {
    const broker = random.int(0, this.#cluster.brokerCount - 1)
    this.#tally.count('broker stalled')
    this.#cluster.stall(broker)
    this.#clock.after(random.int(100_000, 12_000_000), () => this.#cluster.unstall(broker))
  }

  #crashBroker(random: Random): void {
    const broker = random.int(0, this.#cluster.brokerCount - 1)
    this.#tally.count('broker crashed')
    this.#cluster.crash(broker)
    this.#clock.after(random.int(50_000, 3_000_000), () => this.#cluster.elect())
    this.#clock.after(random.int(1_000_000, 8_000_000), () => {
      this.#cluster.restart(broker)
      this.#cluster.elect()
    })
  }

  #moveLeader(random: Random): void {
    this.#tally.count('leader moved')
    this.#cluster.elect(random.int(0, this.#cluster.partitions.length - 1))
  }

  #stepClock(random: Random): void {
    // The parent looks at the clock now and then: two steps in between would escape it.
    const now = this.#clock.timeUs
    if (now - this.#steppedUs < REPORT_US) return
    this.#steppedUs = now
    this.#tally.count('clock stepped')
    const reach = random.pick([5_000, 1_000_000, 60_000_000, 3_600_000_000])
    this.#clock.wallOffsetUs += random.int(-reach, reach)
  }

  #slowLine(random: Random): void {
    this.#tally.count('line slow')
    this.#network.extraLatencyUs = random.int(10_000, 400_000)
    this.#clock.after(random.int(500_000, 5_000_000), () => this.#network.extraLatencyUs = 0)
  }

  #joinLate(random: Random): void {
    this.#tally.count('consumer joined late')
    const records = this.#cluster.partitions.flatMap(({ log }) =>
      log.slice(random.int(0, log.length))
    )
    this.#oracle.join(records)
  }

  async #drainAndRestart(random: Random): Promise<void> {
    const worker = this.#worker
    if (worker === undefined) return
    worker.feed.drain()
    const deadlineMs = random.int(200, 5_000)
    const complete = await worker.sink.flush(deadlineMs)
    this.#report()
    this.#tally.trace(() => `drained: ${complete}`)
    this.#restart(worker, 'worker drained')
  }
}

const HEALED_NETWORK: NetworkFaults = {
  drop: 0,
  duplicate: 0,
  reorder: 0,
  delay: 0,
  cut: 0,
  disconnect: 0,
  halfOpen: 0,
  refuse: 0,
  hang: 0,
  httpLost: 0,
  httpSlow: 0,
}

/** Never short of room. */
const CALM_PUBLISHER = {
  queueBytesMax: 1_000_000,
  queueAgeMsMax: 30_000,
  deliveryTimeoutMs: 30_000,
}

/** 0, or with the given chance something up to `most`, small values as likely as large ones. */
function some(random: Random, chance: number, most: number): number {
  const chosen = random.chance(chance)
  const size = most * Math.exp(-4 * random.next())
  return chosen ? size : 0
}
