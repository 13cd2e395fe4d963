/**
 * What one connection to a simulated exchange brings: its frames and REST answers, taken down once
 * through a real session and played to as many fresh sessions as are wanted.
 */
import type { LevelChanges } from '../../src/core/changes.ts'
import type { ObfeedError } from '../../src/core/errors.ts'
import type { InvalidReason } from '../../src/core/event.ts'
import type { Instrument } from '../../src/core/instrument.ts'
import type { Adapter, Session, SessionOutput } from '../../src/exchanges/adapter.ts'
import { twinOf } from '../../src/simulator/registry.ts'

const SYMBOLS = 5
/** Book levels a side, and what is asked of the session. */
const LEVELS = 1000
const DEPTH = 1000
const RATE = 1000
const TICK_MS = 10
const SEED = 20_260_824
const START_MS = Date.UTC(2026, 7, 24, 22, 34)
/** Ticks until all books are there. */
const OPENING_TICKS_MAX = 1000

/** One thing that reaches a session. */
export type Step =
  | { readonly frame: Uint8Array }
  | { readonly index: number; readonly body: string }

export interface Recording {
  readonly instruments: readonly Instrument[]
  /** From the first frame until all books are there. */
  readonly opening: readonly Step[]
  readonly snapshots: number
  /** What came then. */
  readonly updates: readonly Uint8Array[]
  /** Levels in `updates`. */
  readonly updateLevels: number
}

/** What a session says, counted; anything that is not plain success ends the program. */
export class Counter implements SessionOutput {
  snapshots = 0
  deltas = 0
  levels = 0
  readonly sent: string[] = []
  readonly requests: { readonly index: number; readonly url: string }[] = []

  send(text: string): void {
    this.sent.push(text)
  }

  snapshot(): void {
    this.snapshots++
  }

  delta(_index: number, changes: LevelChanges): void {
    this.deltas++
    this.levels += changes.count
  }

  refreshed(): void {}

  retire(): void {}

  suspect(_index: number, reason: InvalidReason, detail: string): void {
    throw new Error(`the simulated frames were not accepted: ${reason}, ${detail}`)
  }

  requestSnapshot(index: number, url: string): void {
    this.requests.push({ index, url })
  }

  fail(error: ObfeedError): void {
    throw error
  }
}

/** A session that has seen nothing yet. */
export function freshSession(
  adapter: Adapter,
  { instruments }: Recording,
  output: SessionOutput,
): Session {
  const session = adapter.open(instruments, output, DEPTH)
  session.opened()
  return session
}

export function play(session: Session, steps: readonly Step[]): void {
  for (const step of steps) {
    if ('frame' in step) session.received(step.frame, 1)
    else session.snapshotReceived!(step.index, step.body, 1)
  }
}

/** `changes`: levels in a frame, on average. */
export function record(adapter: Adapter, changes: number, frames: number): Recording {
  const arrived: Uint8Array[] = []
  const exchange = twinOf(adapter.exchange).create({
    symbols: SYMBOLS,
    levels: LEVELS,
    rate: RATE,
    updates: changes,
    seed: SEED,
    messagesPerSecond: 1000,
    restLag: { older: 0, newer: 0 },
  }, {
    frame: (_connection, bytes) => arrived.push(bytes),
    close(_connection, code, reason) {
      throw new Error(`the simulated exchange closed the connection: ${code} ${reason}`)
    },
  })
  const products: readonly Instrument[] = exchange.products
  const segment = adapter.segment?.(products[0])
  const instruments = products.filter((one) => adapter.segment?.(one) === segment)
    .map(({ symbol, wireSymbol, priceDecimals, sizeDecimals }) => ({
      symbol,
      wireSymbol,
      priceDecimals,
      sizeDecimals,
    }))
  const counter = new Counter()
  const session = adapter.open(instruments, counter, DEPTH)
  let nowMs = START_MS
  const { pathname, search } = new URL(adapter.url(instruments))
  const connection = exchange.connect(nowMs, pathname + search)
  if (connection < 0) throw new Error(`${adapter.exchange} is not simulated at ${pathname}`)
  const opening: Step[] = []
  exchange.paused = true
  session.opened()
  for (let tick = 0; counter.snapshots < instruments.length; tick++) {
    if (tick === OPENING_TICKS_MAX) throw new Error(`${counter.snapshots} snapshots came`)
    for (const text of counter.sent.splice(0)) exchange.receive(connection, text, nowMs)
    for (const { index, url } of counter.requests.splice(0)) {
      const { pathname, searchParams } = new URL(url)
      const { status, body } = exchange.rest(pathname, searchParams, nowMs)
      if (status !== 200) throw new Error(`GET ${url} was answered with ${status}`)
      const step = { index, body: JSON.stringify(body) }
      opening.push(step)
      play(session, [step])
    }
    nowMs += TICK_MS
    exchange.tick(nowMs)
    const steps = arrived.splice(0).map((frame) => ({ frame }))
    opening.push(...steps)
    play(session, steps)
  }
  exchange.paused = false
  while (arrived.length < frames) {
    nowMs += TICK_MS
    exchange.tick(nowMs)
  }
  const { snapshots } = counter
  play(session, arrived.map((frame) => ({ frame })))
  if (counter.snapshots !== snapshots || session.stats.scannerFallbacks > 0) {
    throw new Error(`${session.stats.scannerFallbacks} frames did not take the fast path`)
  }
  // A frame that changes nothing is no update: signs of life are few beside the market's frames.
  if (counter.deltas < 0.98 * arrived.length) {
    throw new Error(`${counter.deltas} of ${arrived.length} frames were updates`)
  }
  return { instruments, opening, snapshots, updates: arrived, updateLevels: counter.levels }
}
