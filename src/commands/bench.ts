/** `obfeed bench`: what one core of this host can carry, measured here and now. */
import { availableParallelism } from 'node:os'
import process from 'node:process'
import { defineCommand } from 'citty'
import { adapters } from '../exchanges/index.ts'
import type { Adapter } from '../exchanges/adapter.ts'
import { type Frames, makeFrames } from './bench-frames.ts'
import { BOOK, DECODE, ENCODE, LANE, nowUs, Pipe, type Stage } from './bench-pipe.ts'
import { integerFlag, print } from './flags.ts'

const PRODUCT = 'BTC-USD'
const LEVELS = 20_000
const DEPTH = 1000
/** A busy symbol as Coinbase sends it. */
const LIVE_FRAMES_PER_SECOND = 20
/** What is left of a core for sockets, Kafka and bursts. */
const HEADROOM = 0.5
const ROUNDS_MIN = 3

/** Each step goes one stage further than the one before; their differences are the stages' costs. */
const STEPS: readonly { readonly name: string; readonly stage: Stage; readonly depth: number }[] = [
  { name: 'decode', stage: DECODE, depth: Infinity },
  { name: 'book', stage: BOOK, depth: Infinity },
  { name: 'view', stage: BOOK, depth: DEPTH },
  { name: 'encode', stage: ENCODE, depth: DEPTH },
  { name: 'lane', stage: LANE, depth: DEPTH },
]

interface Measured {
  /** Mean level updates of a frame. */
  readonly updates: number
  readonly bytes: number
  /** CPU time of one frame, by stage. */
  readonly stagesNs: Readonly<Record<string, number>>
  readonly totalNs: number
  readonly framesPerSecond: number
}

/** Runs the steps in turns until the time is up; the median round of each counts. */
function measure(adapter: Adapter, frames: Frames, seconds: number): Measured {
  const instrument = {
    symbol: 'BTC/USD',
    wireSymbol: PRODUCT,
    priceDecimals: 2,
    sizeDecimals: 8,
  }
  const count = frames.updates.length
  const rounds: number[][] = STEPS.map(() => [])
  const deadline = performance.now() + seconds * 1000
  // The first half warms the code up.
  const warmUntil = performance.now() + seconds * 500
  while (rounds[0].length < ROUNDS_MIN || performance.now() < deadline) {
    STEPS.forEach(({ stage, depth }, i) => {
      const { session } = new Pipe(adapter, [instrument], depth, stage)
      session.received(frames.snapshot, nowUs())
      const start = process.cpuUsage()
      for (let k = 0; k < count; k++) session.received(frames.updates[k], nowUs())
      const { user, system } = process.cpuUsage(start)
      if (performance.now() >= warmUntil) rounds[i].push(((user + system) * 1000) / count)
    })
  }
  const medians = rounds.map((times) => times.sort((a, b) => a - b)[times.length >> 1])
  const stagesNs: Record<string, number> = {}
  STEPS.forEach(({ name }, i) => {
    stagesNs[name] = Math.max(0, Math.round(medians[i] - (i === 0 ? 0 : medians[i - 1])))
  })
  const totalNs = Math.round(medians[medians.length - 1])
  return {
    updates: Math.round(frames.levelUpdates / count),
    bytes: Math.round(frames.updates.reduce((sum, frame) => sum + frame.length, 0) / count),
    stagesNs,
    totalNs,
    framesPerSecond: Math.floor(1e9 / totalNs),
  }
}

function table(small: Measured, large: Measured): string {
  const names = STEPS.map(({ name }) => name)
  const rows = [['per frame', `${small.updates} updates`, `${large.updates} updates`]]
  const time = (ns: number) => `${(ns / 1000).toFixed(2)} us`
  for (const name of names) {
    rows.push([name, time(small.stagesNs[name]), time(large.stagesNs[name])])
  }
  rows.push(['total', time(small.totalNs), time(large.totalNs)])
  const count = (value: number) => value.toLocaleString('en-US')
  rows.push(['frames/s per core', count(small.framesPerSecond), count(large.framesPerSecond)])
  const widths = rows[0].map((_, column) => Math.max(...rows.map((row) => row[column].length)))
  return rows.map((row) =>
    row.map((cell, i) => i === 0 ? cell.padEnd(widths[i]) : cell.padStart(widths[i] + 3)).join('')
  ).join('\n')
}

export default defineCommand({
  meta: { name: 'bench', description: 'Measures what this host can carry' },
  args: {
    seconds: { type: 'string', default: '4', valueHint: 'N', description: 'time to measure for' },
    json: { type: 'boolean', description: 'one JSON object' },
  },
  run({ args }) {
    const seconds = integerFlag('seconds', args.seconds, { min: 1, max: 600 }) ?? 4
    const adapter = adapters['coinbase']
    const make = (frames: number, updatesMax: number) =>
      makeFrames({ seed: 1, product: PRODUCT, levels: LEVELS, frames, updatesMax })
    const small = measure(adapter, make(5000, 3), seconds / 2)
    const large = measure(adapter, make(200, 199), seconds / 2)
    const cores = availableParallelism()
    const load = LIVE_FRAMES_PER_SECOND * large.totalNs
    const symbolsPerCore = Math.floor((HEADROOM * 1e9) / load)
    if (args.json) {
      print(JSON.stringify({
        exchange: adapter.exchange,
        levels: LEVELS,
        depth: DEPTH,
        cases: [small, large],
        headroom: HEADROOM,
        symbolsPerCore,
        cores,
      }))
      return
    }
    print(
      `${LEVELS} levels a side, top ${DEPTH} published, frames of ${adapter.exchange}, one core\n\n` +
        `${table(small, large)}\n\n` +
        `Busy symbols (${LIVE_FRAMES_PER_SECOND} frames/s of ${large.updates} updates each) at ` +
        `${HEADROOM * 100} % of a core, the rest being for\nsockets, Kafka and bursts: ` +
        `${symbolsPerCore} per core, ${symbolsPerCore * cores} on this host's ${cores} CPUs.`,
    )
  },
})
