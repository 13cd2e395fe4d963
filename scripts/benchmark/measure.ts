/** What both measured programs share: their arguments, the frames and the clock. */
import process from 'node:process'
import { type Frames, makeFrames } from '../../src/commands/bench-frames.ts'

export type Mode = 'pipe' | 'decode' | 'memory'

/** `program MODE LEVELS UPDATES_MAX FRAMES SEED`; for `memory` FRAMES is the number of symbols. */
export interface Job {
  readonly mode: Mode
  readonly levels: number
  readonly updatesMax: number
  readonly count: number
  readonly seed: number
}

export const PRODUCT = 'BTC-USD'
/** A program is warm after so long and so many rounds. */
const WARM_MS = 1500
const MEASURE_MS = 800
const ROUNDS_MIN = 2

export function readJob(argv: readonly string[]): Job {
  const [mode, levels, updatesMax, count, seed] = argv
  return {
    mode: mode as Mode,
    levels: Number(levels),
    updatesMax: Number(updatesMax),
    count: Number(count),
    seed: Number(seed),
  }
}

export function jobFrames(job: Job): Frames {
  const { levels, updatesMax, count, seed } = job
  return makeFrames({ seed, product: PRODUCT, levels, frames: count, updatesMax })
}

/** Gives frames to the program; called anew for each round, with the snapshot already in. */
export type Play = () => (frame: Uint8Array) => void

/** Prints `{nsPerFrame, p50Ns, p99Ns, result}`. */
export function measureFrames(frames: Frames, play: Play): void {
  const updates = frames.updates
  // CPU time of all threads: pinned to one core it is the time on a quiet machine, and on a busy
  // one it does not count the others.
  const round = () => {
    const receive = play()
    const start = process.cpuUsage()
    for (let i = 0; i < updates.length; i++) receive(updates[i])
    const { user, system } = process.cpuUsage(start)
    return user + system
  }
  const rounds = (ms: number) => {
    const times: number[] = []
    const start = performance.now()
    while (times.length < ROUNDS_MIN || performance.now() - start < ms) times.push(round())
    return times
  }
  rounds(WARM_MS)
  const times = rounds(MEASURE_MS).sort((a, b) => a - b)
  const nsPerFrame = (times[times.length >> 1] * 1e3) / updates.length

  const latencies = new Float64Array(updates.length * ROUNDS_MIN)
  let n = 0
  for (let k = 0; k < ROUNDS_MIN; k++) {
    const receive = play()
    for (let i = 0; i < updates.length; i++) {
      const start = performance.now()
      receive(updates[i])
      latencies[n++] = performance.now() - start
    }
  }
  latencies.sort()
  const percentile = (share: number) => latencies[Math.floor(latencies.length * share)] * 1e6
  process.stdout.write(
    `${JSON.stringify({ nsPerFrame, p50Ns: percentile(0.5), p99Ns: percentile(0.99) })}\n`,
  )
}

/** Loads `count` symbols and prints `{growthBytes, rssBytes}`. */
export function measureMemory(job: Job, load: (product: string, frame: Uint8Array) => void): void {
  const { snapshot } = makeFrames({
    seed: job.seed,
    product: PRODUCT,
    levels: job.levels,
    frames: 0,
    updatesMax: 1,
  })
  const product = new TextEncoder().encode(`"${PRODUCT}"`)
  const at = indexOf(snapshot, product)
  const rest = snapshot.subarray(at + product.length)
  const time = snapshot.subarray(0, indexOf(snapshot, new TextEncoder().encode('"sequence_num"')))
  // One buffer for all frames, so that the frames themselves cost neither program anything.
  const buffer = new Uint8Array(snapshot.length + 64)
  buffer.set(time)
  const collect = () => (globalThis as { Bun?: { gc(force: boolean): void } }).Bun?.gc(true)
  let before = 0
  // The first symbol brings code and caches in, for both programs alike.
  for (let i = 0; i <= job.count; i++) {
    const { written } = new TextEncoder().encodeInto(
      `"sequence_num":${i},"events":[{"type":"snapshot","product_id":"${productName(i)}"`,
      buffer.subarray(time.length),
    )
    buffer.set(rest, time.length + written)
    load(productName(i), buffer.subarray(0, time.length + written + rest.length))
    if (i === 0) {
      collect()
      before = process.memoryUsage.rss()
    }
  }
  collect()
  const rss = process.memoryUsage.rss()
  process.stdout.write(`${JSON.stringify({ growthBytes: rss - before, rssBytes: rss })}\n`)
}

export function productName(i: number): string {
  return `A${i}-USD`
}

function indexOf(bytes: Uint8Array, part: Uint8Array): number {
  for (let i = 0; i + part.length <= bytes.length; i++) {
    let k = 0
    while (k < part.length && bytes[i + k] === part[k]) k++
    if (k === part.length) return i
  }
  throw new Error('the snapshot frame is not as expected')
}
