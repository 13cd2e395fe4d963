/**
 * The measured program of the byte scanners: `program EXCHANGE CHANGES FRAMES`. Both routes take
 * turns on the same bytes: the session, from `received` to what it hands on (no book), and
 * JSON.parse with a walk. Prints nanoseconds a frame of each, and the same of the snapshots.
 */
import process from 'node:process'
import { adapters } from '../../src/exchanges/index.ts'
import { Counter, freshSession, play, record } from './recording.ts'
import { type Walk, Walked, walks } from './walks.ts'

/** Both routes together; the last compiler is slow to come on one core. */
const WARM_MS = 2000
const MEASURE_MS = 1500
const SNAPSHOTS_MS = 600
const ROUNDS_MIN = 5
/** Connections that are opened in one round of the snapshots. */
const OPENINGS = 4

const [exchange, changes, count] = process.argv.slice(2)
const adapter = adapters[exchange]
const walk: Walk = walks[exchange]
const recording = record(adapter, Number(changes), Number(count))
const { opening, updates } = recording
const decoder = new TextDecoder()

/** CPU time of all threads, in microseconds. */
function cpuUs(since?: NodeJS.CpuUsage): number {
  const { user, system } = process.cpuUsage(since)
  return user + system
}

function walkOpening(walked: Walked): void {
  for (const step of opening) {
    const text = 'frame' in step ? decoder.decode(step.frame) : step.body
    walk(JSON.parse(text) as never, walked)
  }
}

function receiveUpdates(): number {
  const counter = new Counter()
  const session = freshSession(adapter, recording, counter)
  play(session, opening)
  const start = process.cpuUsage()
  for (let i = 0; i < updates.length; i++) session.received(updates[i], i)
  const time = cpuUs(start)
  if (counter.levels !== recording.updateLevels) throw new Error(`${counter.levels} levels`)
  return time
}

function walkUpdates(): number {
  const walked = new Walked()
  walkOpening(walked)
  walked.levels = 0
  const start = process.cpuUsage()
  for (let i = 0; i < updates.length; i++) {
    walk(JSON.parse(decoder.decode(updates[i])) as never, walked)
  }
  const time = cpuUs(start)
  if (walked.levels !== recording.updateLevels) throw new Error(`${walked.levels} levels walked`)
  return time
}

function receiveSnapshots(): number {
  const counter = new Counter()
  const sessions = Array.from(
    { length: OPENINGS },
    () => freshSession(adapter, recording, counter),
  )
  const start = process.cpuUsage()
  for (const session of sessions) play(session, opening)
  const time = cpuUs(start)
  if (counter.snapshots !== OPENINGS * recording.snapshots) throw new Error('snapshots are missing')
  return time
}

function walkSnapshots(): number {
  const walked = new Walked()
  const start = process.cpuUsage()
  for (let k = 0; k < OPENINGS; k++) walkOpening(walked)
  const time = cpuUs(start)
  if (walked.levels === 0) throw new Error('nothing was walked')
  return time
}

function median(times: number[]): number {
  times.sort((a, b) => a - b)
  return times[times.length >> 1]
}

/** Medians over the rounds, in nanoseconds each of `count`. */
function measure(
  ours: () => number,
  theirs: () => number,
  count: number,
  warmMs: number,
  measureMs: number,
): [number, number] {
  const rounds = (ms: number): [number[], number[]] => {
    const times: [number[], number[]] = [[], []]
    const start = performance.now()
    while (times[0].length < ROUNDS_MIN || performance.now() - start < ms) {
      times[0].push(ours())
      times[1].push(theirs())
    }
    return times
  }
  rounds(warmMs)
  const [oursUs, theirsUs] = rounds(measureMs)
  return [median(oursUs) * 1000 / count, median(theirsUs) * 1000 / count]
}

const [nsPerFrame, walkNsPerFrame] = measure(
  receiveUpdates,
  walkUpdates,
  updates.length,
  WARM_MS,
  MEASURE_MS,
)
const [nsPerSnapshot, walkNsPerSnapshot] = measure(
  receiveSnapshots,
  walkSnapshots,
  OPENINGS * recording.snapshots,
  SNAPSHOTS_MS,
  SNAPSHOTS_MS,
)
process.stdout.write(
  `${JSON.stringify({ nsPerFrame, walkNsPerFrame, nsPerSnapshot, walkNsPerSnapshot })}\n`,
)
