/**
 * Watches the agent's own partitions for another publisher of the same symbols, begins epochs above
 * its, and tells who it is.
 */
import type { Environment, Timer } from '../core/environment.ts'
import { peekEvent } from '../core/event-peek.ts'
import type { PlannedSymbol } from '../core/instrument.ts'
import type { SeenBatch } from './heads.ts'
import { isControlBatch, recordsOf, UnreadableBatch } from './record-batch.ts'
import type { BatchRecord } from './record-batch.ts'

/** Two looks at the partitions are so far apart, give or take a tenth. */
export const LOOK_MS = 2_500
/** A look that takes longer has failed. */
const LOOK_TIMEOUT_MS = 10_000
/** After a failure; doubles from `LOOK_MS`. */
const LOOK_MS_MAX = 30_000
/**
 * A symbol begins no epoch against a rival sooner after the last one: two agents that climb over each
 * other cost their consumers a snapshot each time. Less than consumers wait for a silent agent.
 */
export const CLIMB_MS = 9_000
/** A rival that was silent for so long is gone: agents send heartbeats every 5 s. */
export const RIVAL_GONE_MS = 15_000
/** A partition with a rival is read closely for so long after. */
const STUDY_MS = 60_000
/** Rivals and identities that are remembered at most. */
const REMEMBERED_MAX = 64

/** Another publisher, as the agent shows it. */
export interface RivalStats {
  /** `host/pid/version`, or `unnamed producer ID` until it publishes more than deltas. */
  readonly producer: string
  /** All that both publish. */
  readonly symbols: string[]
  /** Its last record was found so long ago. */
  silentMs: number
}

export interface RivalWatchOptions {
  readonly streams: readonly PlannedSymbol[]
  /** `host/pid/version` of this agent. */
  readonly producer: string
  /** Whether an identity is one of this process. */
  isOwn(producerId: number): boolean
  /** What was appended; see `HeadReader.look`. */
  look(closely: ReadonlySet<number>): Promise<readonly SeenBatch[]>
  /** The latest epoch of a stream that was published. */
  epochOf(stream: number): number
  /** Begins an epoch above `epoch`, at once or with the next book. */
  outrank(stream: number, epoch: number): unknown
  /** A look failed; `failures` in a row. False: never look again. */
  failed(error: Error, failures: number): boolean
}

interface Rival {
  producer: string
  readonly symbols: Set<string>
  lastSeenMs: number
  /** Found in so many looks. */
  looks: number
  lastLook: number
  /** Published under an epoch not below ours, or by a name that is not ours. */
  isCertain: boolean
}

export class RivalWatch {
  /** Epochs begun because of rivals. */
  climbs = 0
  readonly #options: RivalWatchOptions
  readonly #environment: Environment
  readonly #streamOf = new Map<string, number>()
  /** By producer identity. */
  readonly #rivals = new Map<number, Rival>()
  /** Stream -> highest epoch of a rival that has not been outranked yet. */
  readonly #pending = new Map<number, number>()
  readonly #climbedMs = new Map<number, number>()
  /** Partition -> until when it is read closely, monotonic ms. */
  readonly #studied = new Map<number, number>()
  #timer: Timer | undefined
  #call = 0
  #look = 0
  #failures = 0

  constructor(options: RivalWatchOptions, environment: Environment) {
    this.#options = options
    this.#environment = environment
    for (const [stream, { symbol }] of options.streams.entries()) this.#streamOf.set(symbol, stream)
  }

  /** Looks now, and from then on again and again. */
  start(): void {
    this.#next(0)
  }

  close(): void {
    this.#call += 1
    this.#timer?.cancel()
  }

  /** Rivals that are not gone; those found once without a name may be an answer come late. */
  get rivals(): RivalStats[] {
    const nowMs = this.#environment.monotonicMs()
    const found = new Map<string, RivalStats>()
    for (const { producer, symbols, lastSeenMs, looks, isCertain } of this.#rivals.values()) {
      const silentMs = nowMs - lastSeenMs
      if (silentMs > RIVAL_GONE_MS || (!isCertain && looks < 2)) continue
      const same = found.get(producer)
      if (same === undefined) found.set(producer, { producer, symbols: [...symbols], silentMs })
      else {
        for (const symbol of symbols) if (!same.symbols.includes(symbol)) same.symbols.push(symbol)
        same.silentMs = Math.min(same.silentMs, silentMs)
      }
    }
    return [...found.values()]
  }

  #next(delayMs: number): void {
    this.#timer = this.#environment.setTimer(delayMs, () => {
      const call = ++this.#call
      this.#timer = this.#environment.setTimer(
        LOOK_TIMEOUT_MS,
        () => this.#failed(call, new Error(`no answer within ${LOOK_TIMEOUT_MS} ms`)),
      )
      this.#options.look(this.#closely()).then(
        (seen) => this.#answered(call, seen),
        (error: Error) => this.#failed(call, error),
      )
    })
  }

  #closely(): Set<number> {
    const nowMs = this.#environment.monotonicMs()
    for (const [partition, untilMs] of this.#studied) {
      if (untilMs <= nowMs) this.#studied.delete(partition)
    }
    return new Set(this.#studied.keys())
  }

  #failed(call: number, error: Error): void {
    if (call !== this.#call) return
    this.#call += 1
    this.#timer?.cancel()
    this.#failures += 1
    this.#climb()
    if (!this.#options.failed(error, this.#failures)) return
    this.#next(Math.min(LOOK_MS_MAX, LOOK_MS * 2 ** Math.min(this.#failures, 8)))
  }

  #answered(call: number, seen: readonly SeenBatch[]): void {
    if (call !== this.#call) return
    this.#timer?.cancel()
    this.#failures = 0
    this.#look += 1
    for (const one of seen) if (!this.#options.isOwn(one.batch.producerId)) this.#foreign(one)
    this.#forget()
    this.#climb()
    this.#next(LOOK_MS * (0.9 + 0.2 * this.#environment.random()))
  }

  #foreign({ partition, batch }: SeenBatch): void {
    if (isControlBatch(batch)) return
    const untilMs = this.#environment.monotonicMs() + STUDY_MS
    if (!batch.isWhole) {
      this.#studied.set(partition, untilMs) // the next look brings it whole
      return
    }
    let records: readonly BatchRecord[]
    try {
      records = recordsOf(batch)
    } catch (error) {
      if (error instanceof UnreadableBatch) return
      throw error
    }
    for (const { key, value, producer } of records) {
      const stream = key === null ? undefined : this.#streamOf.get(key.toString())
      const event = value === null ? undefined : peekEvent(value)
      // Other symbols of a shared partition are none of our business.
      if (stream === undefined || event === undefined) continue
      this.#studied.set(partition, untilMs)
      const isAbove = event.epoch >= this.#options.epochOf(stream)
      if (isAbove) {
        this.#pending.set(stream, Math.max(event.epoch, this.#pending.get(stream) ?? 0))
      }
      // The last word of an agent that was stopped, perhaps to make room for this one.
      if (event.reason === 'shutdown') continue
      this.#note(batch.producerId, stream, producer, isAbove)
    }
  }

  #note(id: number, stream: number, producer: string | undefined, isAbove: boolean): void {
    let rival = this.#rivals.get(id)
    if (rival === undefined) {
      rival = {
        producer: `unnamed producer ${id}`,
        symbols: new Set(),
        lastSeenMs: 0,
        looks: 0,
        lastLook: 0,
        isCertain: false,
      }
      this.#rivals.set(id, rival)
    }
    if (producer !== undefined) rival.producer = producer
    // A request of a worker that died may be stored late; its epochs are below those of its successor.
    if (isAbove || (producer !== undefined && producer !== this.#options.producer)) {
      rival.isCertain = true
    }
    rival.symbols.add(this.#options.streams[stream].symbol)
    rival.lastSeenMs = this.#environment.monotonicMs()
    if (rival.lastLook !== this.#look) rival.looks += 1
    rival.lastLook = this.#look
  }

  #forget(): void {
    const nowMs = this.#environment.monotonicMs()
    for (const [id, { lastSeenMs }] of this.#rivals) {
      const isOld = nowMs - lastSeenMs > 4 * RIVAL_GONE_MS
      if (isOld || this.#rivals.size > REMEMBERED_MAX) this.#rivals.delete(id)
    }
  }

  /** Outranks what is above, each symbol at its pace. */
  #climb(): void {
    const nowMs = this.#environment.monotonicMs()
    for (const [stream, epoch] of this.#pending) {
      if (epoch < this.#options.epochOf(stream)) {
        this.#pending.delete(stream)
        continue
      }
      if (nowMs - (this.#climbedMs.get(stream) ?? -Infinity) < CLIMB_MS) continue
      this.#pending.delete(stream)
      this.#climbedMs.set(stream, nowMs)
      this.climbs += 1
      this.#options.outrank(stream, epoch)
    }
  }
}
