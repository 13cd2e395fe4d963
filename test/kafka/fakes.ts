/** A virtual clock and a scripted wire, for tests of the publisher without a broker. */
import assert from 'node:assert/strict'
import type { Environment, Timer } from '../../src/core/environment.ts'
import type { ObfeedError } from '../../src/core/errors.ts'
import type { PlannedSymbol } from '../../src/core/instrument.ts'
import type { EventKind, Sink, SinkEvents } from '../../src/sinks/sink.ts'
import type { PartitionBatch, Wire, WireProducer } from '../../src/kafka/wire.ts'

/** Time moves only by `advance`; timers fire in order. */
export class VirtualClock implements Environment {
  #nowMs = 0
  #order = 0
  #timers: { atMs: number; order: number; callback: () => void }[] = []

  nowUs(): number {
    return Math.round(1_700_000_000_000_000 + this.#nowMs * 1000)
  }

  monotonicMs(): number {
    return this.#nowMs
  }

  get timers(): number {
    return this.#timers.length
  }

  setTimer(delayMs: number, callback: () => void): Timer {
    const timer = { atMs: this.#nowMs + delayMs, order: this.#order++, callback }
    this.#timers.push(timer)
    return {
      cancel: () => {
        this.#timers = this.#timers.filter((other) => other !== timer)
      },
    }
  }

  random(): number {
    return 0.5
  }

  openSocket(): never {
    throw new Error('no sockets here')
  }

  httpGet(): never {
    throw new Error('no HTTP here')
  }

  async advance(ms: number): Promise<void> {
    const end = this.#nowMs + ms
    await settle()
    for (;;) {
      const due = this.#timers.filter((timer) => timer.atMs <= end)
      due.sort((a, b) => a.atMs - b.atMs || a.order - b.order)
      const next = due[0]
      if (next === undefined) break
      this.#timers = this.#timers.filter((timer) => timer !== next)
      this.#nowMs = Math.max(this.#nowMs, next.atMs)
      next.callback()
      await settle()
    }
    this.#nowMs = end
  }
}

/** Lets every promise that can settle do so. */
export async function settle(): Promise<void> {
  for (let i = 0; i < 20; i++) await Promise.resolve()
}

export interface Sent {
  readonly identity: number
  readonly leader: number
  /** Copied when sent: `partition:text`. */
  readonly records: readonly string[]
  readonly batches: readonly PartitionBatch[]
  acknowledge(partitions?: readonly number[]): Promise<void>
  reject(error: Error): Promise<void>
}

/** Answers nothing by itself unless `automatic`. */
export class ScriptedWire implements Wire {
  leaderOf = new Map<number, number>()
  leadersError: Error | undefined
  openError: Error | undefined
  leadersHang = false
  automatic = false
  readonly sent: Sent[] = []
  readonly opened: number[] = []
  readonly closed: number[] = []
  leadersCalls = 0
  wireClosed = false
  #answered = 0

  constructor(leaders: Readonly<Record<number, number>>) {
    for (const [partition, leader] of Object.entries(leaders)) {
      this.leaderOf.set(Number(partition), leader)
    }
  }

  leaders(): Promise<ReadonlyMap<number, number>> {
    this.leadersCalls += 1
    if (this.leadersHang) return new Promise(() => {})
    if (this.leadersError !== undefined) return Promise.reject(this.leadersError)
    return Promise.resolve(new Map(this.leaderOf))
  }

  open(leader: number): Promise<WireProducer> {
    if (this.openError !== undefined) return Promise.reject(this.openError)
    const identity = this.opened.length
    this.opened.push(leader)
    return Promise.resolve({
      send: (batches) => this.#send(identity, leader, batches),
      close: () => {
        this.closed.push(identity)
        return Promise.resolve()
      },
    })
  }

  close(): Promise<void> {
    this.wireClosed = true
    return Promise.resolve()
  }

  get last(): Sent {
    const sent = this.sent.at(-1)
    if (sent === undefined) throw new Error('nothing was sent')
    return sent
  }

  /** All records sent so far, in order. */
  get log(): string[] {
    return this.sent.flatMap(({ records }) => records)
  }

  /** Answers the oldest send that waits. */
  async acknowledgeNext(): Promise<void> {
    const next = this.sent[this.#answered]
    if (next === undefined) return
    this.#answered += 1
    await next.acknowledge()
  }

  #send(
    identity: number,
    leader: number,
    batches: readonly PartitionBatch[],
  ): Promise<readonly number[]> {
    if (this.closed.includes(identity)) throw new Error(`identity ${identity} is spent`)
    const partitions = batches.map(({ partition }) => partition)
    const records = textsOf(batches)
    return new Promise((resolve, reject) => {
      this.sent.push({
        identity,
        leader,
        batches,
        records,
        async acknowledge(only = partitions) {
          assert.deepEqual(textsOf(batches), records, 'written again while in flight')
          resolve(only)
          await settle()
        },
        async reject(error) {
          reject(error)
          await settle()
        },
      })
      if (this.automatic) resolve(partitions)
    })
  }
}

function textsOf(batches: readonly PartitionBatch[]): string[] {
  const decoder = new TextDecoder()
  return batches.flatMap(({ partition, records }) =>
    records.map(({ value }) => `${partition}:${decoder.decode(value)}`)
  )
}

/** What a sink said, in order. */
export class Heard implements SinkEvents {
  readonly lines: string[] = []
  readonly failures: ObfeedError[] = []
  onWritable: ((stream: number) => void) | undefined
  onDropped: ((stream: number) => void) | undefined

  dropped(stream: number, events: number): void {
    this.lines.push(`dropped ${stream} ${events}`)
    this.onDropped?.(stream)
  }

  writable(stream: number): void {
    this.lines.push(`writable ${stream}`)
    this.onWritable?.(stream)
  }

  pressure(full: boolean): void {
    this.lines.push(`pressure ${full}`)
  }

  failed(error: ObfeedError): void {
    this.lines.push('failed')
    this.failures.push(error)
  }

  take(): string[] {
    return this.lines.splice(0)
  }
}

/** Streams 0, 1, ... on the given partitions. */
export function streamsOn(...partitions: number[]): PlannedSymbol[] {
  return partitions.map((partition, stream) => ({
    symbol: `S${stream}/USD`,
    wireSymbol: `S${stream}-USD`,
    priceDecimals: 2,
    sizeDecimals: 8,
    partition,
  }))
}

const encoder = new TextEncoder()
const scratch = new Uint8Array(2_000_000)

/**
 * Pushes `text` from a buffer that is written again by the next push. The timestamp is the present:
 * a broker that restarts forgets a producer whose last record is older than a day, and with it what
 * it knew of duplicates.
 */
export function pushText(sink: Sink, stream: number, kind: EventKind, text: string): boolean {
  const { written } = encoder.encodeInto(text, scratch.subarray(7))
  const taken = sink.push(stream, kind, scratch, 7, 7 + written, Date.now())
  scratch.fill(35, 7, 7 + written)
  return taken
}
