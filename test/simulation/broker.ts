/**
 * A simulated Kafka cluster behind `Wire`: what kafkajs and the brokers do with idempotent batches,
 * with every fault that leaves the outcome of a send unknown.
 */
import type { PartitionBatch, Wire, WireProducer } from '../../src/kafka/wire.ts'
import type { Random, VirtualClock } from './clock.ts'
import type { Tally } from './tally.ts'

export interface StoredRecord {
  readonly partition: number
  readonly offset: number
  readonly key: string
  /** The record value, JSON. */
  readonly value: string
  /** Producer id that stored it. */
  readonly producer: number
  /** Stored after its producer had been closed, or its client killed. */
  readonly late: boolean
}

/** Chances of a fault, per request unless said otherwise. All 0 once the faults end. */
export interface BrokerFaults {
  /** Stored, but the answer is lost: the client times out and sends again. */
  lostAck: number
  /** The request is lost on its way. */
  lostRequest: number
  /** The answer reports an error that no retry mends. */
  rejected: number
  /** Per send: its promise never settles, whatever became of the request. */
  neverAnswers: number
  /** The client times out at once for good, while the request is still on its way. */
  abandoned: number
  /** A moved partition is skipped by the client: acknowledged without it. */
  missingPartition: number
  /** A producer id or metadata request is refused. */
  refused: number
}

export const NO_BROKER_FAULTS: BrokerFaults = {
  lostAck: 0,
  lostRequest: 0,
  rejected: 0,
  neverAnswers: 0,
  abandoned: 0,
  missingPartition: 0,
  refused: 0,
}

/** Batches a broker remembers per producer and partition to recognise one sent again. */
const RETAINED_BATCHES = 5
const RECORDS_MAX = 500
const BATCH_BYTES_MAX = 900_000

interface ProducerState {
  nextSequence: number
  readonly recent: { base: number; count: number }[]
}

interface Partition {
  leader: number
  readonly log: StoredRecord[]
  readonly producers: Map<number, ProducerState>
}

interface Broker {
  down: boolean
  stalled: boolean
  /** Requests that wait for the stall to end. */
  waiting: (() => void)[]
}

type Answer = 'stored' | 'not-leader' | 'out-of-order'

const decoder = new TextDecoder()

export class SimulatedCluster {
  faults: BrokerFaults = NO_BROKER_FAULTS
  readonly partitions: Partition[]
  readonly #clock: VirtualClock
  readonly #random: Random
  readonly #tally: Tally
  readonly #brokers: Broker[]
  readonly #stored: (record: StoredRecord) => void
  #producers = 0

  constructor(
    clock: VirtualClock,
    random: Random,
    tally: Tally,
    size: { readonly brokers: number; readonly partitions: number },
    stored: (record: StoredRecord) => void,
  ) {
    this.#clock = clock
    this.#random = random
    this.#tally = tally
    this.#stored = stored
    this.#brokers = Array.from(
      { length: size.brokers },
      () => ({ down: false, stalled: false, waiting: [] }),
    )
    this.partitions = Array.from({ length: size.partitions }, () => ({
      leader: random.int(0, size.brokers - 1),
      log: [],
      producers: new Map(),
    }))
  }

  get brokerCount(): number {
    return this.#brokers.length
  }

  /** A client of the cluster; dies with its worker. */
  connect(): SimulatedWire {
    return new SimulatedWire(this, this.#clock, this.#random, this.#tally)
  }

  stall(broker: number): void {
    this.#brokers[broker]!.stalled = true
  }

  /** The broker goes on and serves what waited, in order. */
  unstall(broker: number): void {
    const state = this.#brokers[broker]!
    if (!state.stalled) return
    state.stalled = false
    for (const request of state.waiting.splice(0)) request()
  }

  /** The broker dies: what waited in it is gone, its partitions have no leader until `elect`. */
  crash(broker: number): void {
    const state = this.#brokers[broker]!
    state.down = true
    state.stalled = false
    state.waiting = []
    for (const partition of this.partitions) if (partition.leader === broker) partition.leader = -1
  }

  restart(broker: number): void {
    this.#brokers[broker]!.down = false
  }

  /** Gives every partition without a leader, or `moved`, one that is up. */
  elect(moved = -1): void {
    this.partitions.forEach((partition, index) => {
      if (partition.leader !== -1 && index !== moved) return
      const up = this.#brokers.map((_, id) => id)
        .filter((id) => !this.#brokers[id]!.down && id !== partition.leader)
      if (up.length > 0) partition.leader = this.#random.pick(up)
    })
  }

  /** Ends every stall and outage. */
  heal(): void {
    this.faults = NO_BROKER_FAULTS
    this.#brokers.forEach((_, id) => {
      this.restart(id)
      this.unstall(id)
    })
    this.elect()
  }

  nextProducerId(): number {
    return this.#producers++
  }

  isUp(broker: number): boolean {
    return !this.#brokers[broker]!.down
  }

  leaderOf(partition: number): number {
    return this.partitions[partition]?.leader ?? -1
  }

  /** One way through the network, microseconds. */
  latencyUs(): number {
    return this.#random.chance(0.05)
      ? this.#random.int(5_000, 80_000)
      : this.#random.int(200, 3_000)
  }

  /** Runs `request` at the broker: at once, after its stall, or never when it is down. */
  deliver(broker: number, request: () => void, refused: () => void): void {
    const state = this.#brokers[broker]!
    if (state.down) return refused()
    if (state.stalled) state.waiting.push(request)
    else request()
  }

  /** What the leader does with an idempotent batch. */
  append(
    broker: number,
    producer: number,
    base: number,
    batch: PartitionBatch,
    late: boolean,
  ): Answer {
    const partition = this.partitions[batch.partition]
    if (partition === undefined || partition.leader !== broker) return 'not-leader'
    let state = partition.producers.get(producer)
    if (state === undefined) {
      state = { nextSequence: 0, recent: [] }
      partition.producers.set(producer, state)
    }
    const count = batch.records.length
    if (state.recent.some((seen) => seen.base === base && seen.count === count)) return 'stored'
    if (base !== state.nextSequence) return 'out-of-order'
    state.nextSequence += count
    state.recent.push({ base, count })
    if (state.recent.length > RETAINED_BATCHES) state.recent.shift()
    if (late) this.#tally.count('batch stored late')
    for (const record of batch.records) {
      const stored: StoredRecord = {
        partition: batch.partition,
        offset: partition.log.length,
        key: decoder.decode(record.key),
        value: decoder.decode(record.value),
        producer,
        late,
      }
      partition.log.push(stored)
      this.#stored(stored)
    }
    return 'stored'
  }
}

/** What `kafkajs-wire.ts` is to a real cluster, retries inside included. */
export class SimulatedWire implements Wire {
  /** The worker was killed: nothing settles any more, what is under way may still be stored. */
  dead = false
  readonly cluster: SimulatedCluster
  readonly clock: VirtualClock
  readonly random: Random
  readonly tally: Tally

  constructor(cluster: SimulatedCluster, clock: VirtualClock, random: Random, tally: Tally) {
    this.cluster = cluster
    this.clock = clock
    this.random = random
    this.tally = tally
  }

  leaders(): Promise<ReadonlyMap<number, number>> {
    return new Promise((resolve, reject) => {
      const refused = this.random.chance(this.cluster.faults.refused)
      const anyUp = this.cluster.partitions.some((_, id) => id < this.cluster.brokerCount) &&
        Array.from({ length: this.cluster.brokerCount }, (_, id) => id)
          .some((id) => this.cluster.isUp(id))
      this.clock.after(this.cluster.latencyUs() * 2, () => {
        if (this.dead) return
        if (refused || !anyUp) {
          if (refused) this.tally.count('metadata refused')
          return reject(new Error('simulated: no broker answers'))
        }
        const leaders = new Map<number, number>()
        this.cluster.partitions.forEach((partition, index) => {
          if (partition.leader !== -1) leaders.set(index, partition.leader)
        })
        resolve(leaders)
      })
    })
  }

  open(leader: number): Promise<WireProducer> {
    return new Promise((resolve, reject) => {
      const refused = this.random.chance(this.cluster.faults.refused)
      const fail = (): void => {
        if (!this.dead) reject(new Error(`simulated: broker ${leader} refused the connection`))
      }
      const timeout = this.clock.after(10_000_000, fail)
      this.clock.after(this.cluster.latencyUs(), () => {
        if (refused) {
          this.tally.count('producer refused')
          timeout.cancel()
          return fail()
        }
        this.cluster.deliver(leader, () => {
          this.clock.after(this.cluster.latencyUs(), () => {
            timeout.cancel()
            if (!this.dead) resolve(new SimulatedProducer(this, leader))
          })
        }, () => {
          timeout.cancel()
          fail()
        })
      })
    })
  }

  close(): Promise<void> {
    return Promise.resolve()
  }
}

const ATTEMPTS_MAX = 4

class SimulatedProducer implements WireProducer {
  readonly #wire: SimulatedWire
  readonly #id: number
  readonly #leader: number
  /** Next sequence per partition; advanced by an acknowledgement only, as kafkajs does it. */
  readonly #sequences = new Map<number, number>()
  #sending = false
  #closed = false

  constructor(wire: SimulatedWire, leader: number) {
    this.#wire = wire
    this.#leader = leader
    this.#id = wire.cluster.nextProducerId()
  }

  send(batches: readonly PartitionBatch[]): Promise<readonly number[]> {
    this.#check(batches)
    this.#sending = true
    const { cluster, random, tally } = this.#wire
    const never = random.chance(cluster.faults.neverAnswers)
    if (never) tally.count('send never answered')
    return new Promise((resolve, reject) => {
      const settled = (outcome: readonly number[] | Error): void => {
        this.#sending = false
        if (this.#wire.dead || never) return
        if (outcome instanceof Error) return reject(outcome)
        resolve(outcome)
      }
      // Fixed here: sent again, it is the same batch to the brokers.
      const bases = new Map<number, number>()
      for (const { partition } of batches) bases.set(partition, this.#sequences.get(partition) ?? 0)
      this.#attempt(batches, bases, new Set(), 1, settled)
    })
  }

  close(): Promise<void> {
    this.#closed = true
    return new Promise((resolve) => {
      this.#wire.clock.after(this.#wire.random.int(0, 900_000), () => {
        if (!this.#wire.dead) resolve()
      })
    })
  }

  /** What a publisher must never do, whatever the faults. */
  #check(batches: readonly PartitionBatch[]): void {
    const { tally } = this.#wire
    if (this.#sending) tally.violation(`producer ${this.#id}: send before the last one settled`)
    if (this.#closed) tally.violation(`producer ${this.#id}: send after close`)
    const partitions = new Set(batches.map((batch) => batch.partition))
    if (partitions.size !== batches.length || batches.length === 0) {
      tally.violation(`producer ${this.#id}: a send needs batches of distinct partitions`)
    }
    for (const batch of batches) {
      let bytes = 0
      for (const record of batch.records) bytes += record.value.length + record.key.length
      if (batch.records.length === 0 || batch.records.length > RECORDS_MAX) {
        tally.violation(`producer ${this.#id}: ${batch.records.length} records in a batch`)
      }
      if (bytes > BATCH_BYTES_MAX) tally.violation(`producer ${this.#id}: ${bytes} bytes a batch`)
    }
  }

  #attempt(
    batches: readonly PartitionBatch[],
    bases: ReadonlyMap<number, number>,
    acked: Set<number>,
    attempt: number,
    settled: (outcome: readonly number[] | Error) => void,
  ): void {
    const { cluster, clock, random, tally } = this.#wire
    const faults = cluster.faults
    let over = false
    const finish = (outcome: readonly number[] | Error): void => {
      if (over) return
      over = true
      timeout.cancel()
      settled(outcome)
    }
    const again = (why: string): void => {
      if (over) return
      if (attempt >= ATTEMPTS_MAX) return finish(new Error(`simulated: ${why}`))
      over = true
      timeout.cancel()
      clock.after(random.int(80_000, 160_000) * 2 ** attempt, () => {
        this.#attempt(batches, bases, acked, attempt + 1, settled)
      })
    }
    const timeout = clock.after(random.int(1_500_000, 3_000_000), () => again('timed out'))
    if (random.chance(faults.abandoned)) {
      tally.count('send abandoned')
      clock.after(random.int(0, 20_000), () => finish(new Error('simulated: socket closed')))
    }
    const open = batches.filter((batch) => !acked.has(batch.partition))
    // A client sends to the leader it knows of: the one the producer was opened for at first.
    const groups = new Map<number, PartitionBatch[]>()
    for (const batch of open) {
      const leader = attempt === 1 ? this.#leader : cluster.leaderOf(batch.partition)
      groups.set(leader, [...(groups.get(leader) ?? []), batch])
    }
    if (groups.has(-1)) return again('no leader')
    let missing = groups.size
    let moved = false
    const answered = (): void => {
      if (--missing > 0) return
      if (!moved) {
        for (const batch of batches) {
          if (acked.has(batch.partition)) this.#advance(batch)
        }
        return finish([...acked])
      }
      if (random.chance(faults.missingPartition)) {
        tally.count('partition missing in acknowledgement')
        return finish([...acked])
      }
      again('not leader')
    }
    for (const [leader, group] of groups) {
      if (random.chance(faults.lostRequest)) {
        tally.count('request lost')
        continue
      }
      const lost = random.chance(faults.lostAck)
      const rejected = random.chance(faults.rejected)
      clock.after(cluster.latencyUs(), () => {
        cluster.deliver(leader, () => {
          if (rejected) {
            tally.count('batch rejected')
            clock.after(cluster.latencyUs(), () => finish(new Error('simulated: not authorised')))
            return
          }
          const late = this.#closed || this.#wire.dead
          const answers = group.map((batch) => {
            return cluster.append(leader, this.#id, bases.get(batch.partition)!, batch, late)
          })
          if (lost) {
            tally.count('acknowledgement lost')
            return
          }
          clock.after(cluster.latencyUs(), () => {
            if (over) return
            if (answers.includes('out-of-order')) {
              return finish(new Error('simulated: out of order sequence number'))
            }
            group.forEach((batch, i) => {
              if (answers[i] === 'stored') acked.add(batch.partition)
              else moved = true
            })
            answered()
          })
        }, () => again('connection refused'))
      })
    }
  }

  #advance(batch: PartitionBatch): void {
    const next = (this.#sequences.get(batch.partition) ?? 0) + batch.records.length
    this.#sequences.set(batch.partition, next)
  }
}
