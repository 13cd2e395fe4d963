/**
 * One exchange drilled: simulator and checker in this process, the compiled agent as a user runs it,
 * a real Kafka between. `exchange.ts EXCHANGE BROKERS SECONDS` prints a `DrillResult` as one line.
 */
import { spawn } from 'node:child_process'
import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import process from 'node:process'
import { depthOf } from '../../src/exchanges/adapter.ts'
import { adapters } from '../../src/exchanges/index.ts'
import { EXCHANGE_FAULTS, LINE_FAULTS } from '../../src/simulator/faults.ts'
import { twinOf } from '../../src/simulator/registry.ts'
import { type Simulator, startSimulator } from '../../src/simulator/server.ts'
import { TopicConsumer } from '../../test/support/consumer.ts'
import { freePort } from '../../test/support/program.ts'
import { BookJudge } from './judge.ts'

export interface DrillResult {
  readonly exchange: string
  /** In words; empty: everything held. */
  readonly problems: readonly string[]
  readonly figures: Readonly<Record<string, number>>
}

const ROOT = join(import.meta.dirname ?? '.', '..', '..')
const WORKERS = 2
/** Levels a side of the simulated markets: more than some exchanges keep of a book. */
const LEVELS = 300
const RATE = 120
const READY_WITHIN_MS = 240_000
/** The worst case: a silent socket of an exchange that says little, found by its books' silence. */
const EQUAL_WITHIN_MS = 300_000
/** Memory after the first third, and this much more at most at the end. */
const GROWTH_MAX = 1.2
const GROWTH_ALLOWED_BYTES = 24 * 2 ** 20
/** Where a lost frame cannot be told, it is not part of the drill: the book is wrong, as declared. */
const UNPROVABLE = ['drop', 'reorder']
/** Only where books come by REST. */
const REST_FAULTS = ['rest-error', 'rest-short', 'rest-lag']
/** Levels a side that a checksum alone covers; a loss below them is the exchange's blind spot. */
const CHECKED_LEVELS = 10

const [exchange, brokers, secondsText] = process.argv.slice(2)
const adapter = adapters[exchange]
const problems: string[] = []
const figures: Record<string, number> = {}

function say(text: string): void {
  process.stderr.write(`${exchange}: ${text}\n`)
}

async function until(what: string, withinMs: number, holds: () => boolean): Promise<boolean> {
  const deadline = performance.now() + withinMs
  while (!holds()) {
    if (performance.now() > deadline) {
      problems.push(`not within ${withinMs / 1000} s: ${what}`)
      return false
    }
    await new Promise((resolve) => setTimeout(resolve, 100))
  }
  return true
}

/** Faults in the order of injection; those that take longest to heal come first. */
function faultsOf(): string[] {
  const own = Object.keys(twinOf(exchange).rules.faults ?? {})
  // Late snapshots are a matter of the socket, late and false answers one of REST.
  const rest = adapter.protocol.snapshot === 'rest' ? ['slow'] : REST_FAULTS
  const skipped = ['delist', ...rest, ...(adapter.protocol.loss === 'none' ? UNPROVABLE : [])]
  const slow = ['half-open', 'stall']
  const kinds = [...LINE_FAULTS, ...Object.keys(EXCHANGE_FAULTS), ...own]
  return [...slow, ...kinds.filter((kind) => !slow.includes(kind) && !skipped.includes(kind))]
}

/** Faults of subscriptions and snapshots strike the next one: so a connection is cut after them. */
const STRIKE_LATER = ['wrong-snapshot', 'refuse', 'ignore', 'slow', ...REST_FAULTS]

/** On one connection, by chance, or on whichever comes to it. */
function inject(simulator: Simulator, kind: string, isAnywhere = false): void {
  const open = simulator.stats().connections.map(({ id }) => id)
  const connection = isAnywhere ? undefined : open[Math.floor(Math.random() * open.length)]
  const where = connection === undefined ? {} : { connection }
  if (STRIKE_LATER.includes(kind)) {
    simulator.control({ kind, count: 1 })
    simulator.control({ kind: 'disconnect', count: 1, ...where })
  } else {
    simulator.control({ kind, count: 1, ...where })
  }
}

async function injectAll(simulator: Simulator, overMs: number): Promise<void> {
  const kinds = faultsOf()
  figures.faults = kinds.length
  for (const kind of kinds) {
    say(`fault ${kind}`)
    inject(simulator, kind)
    await new Promise((resolve) => setTimeout(resolve, (overMs * 0.9) / kinds.length))
  }
  // Those whose connection was gone, or that found nothing to strike in time, once more.
  const untouched = () => kinds.filter((kind) => simulator.stats().faultHits[kind] === undefined)
  for (let round = 0; round < 3 && untouched().length > 0; round++) {
    say(`once more: ${untouched().join(', ')}`)
    for (const kind of untouched()) {
      inject(simulator, kind, true)
      await new Promise((resolve) => setTimeout(resolve, 5_000))
    }
  }
  if (untouched().length > 0) problems.push(`never struck: ${untouched().join(', ')}`)
}

/** Resident bytes of the agent and its workers. */
function residentBytes(pid: number): number {
  let sum = 0
  for (const entry of readdirSync('/proc')) {
    if (!/^\d+$/.test(entry)) continue
    try {
      const status = readFileSync(`/proc/${entry}/status`, 'utf8')
      const parent = Number(/^PPid:\s+(\d+)/m.exec(status)?.[1])
      if (Number(entry) !== pid && parent !== pid) continue
      sum += Number(/^VmRSS:\s+(\d+)/m.exec(status)?.[1] ?? 0) * 1024
    } catch {
      // It ended meanwhile.
    }
  }
  return sum
}

function median(values: readonly number[]): number {
  return values.toSorted((a, b) => a - b)[values.length >> 1] ?? 0
}

async function main(): Promise<void> {
  const seconds = Number(secondsText)
  const map = join(ROOT, 'config', `${exchange}_config.json`)
  const symbols = Object.keys(JSON.parse(readFileSync(map, 'utf8'))).slice(0, 50)
  const simulator = await startSimulator({
    exchange,
    symbols,
    rate: RATE,
    levels: LEVELS,
    history: 4096,
  })
  const topic = `${exchange}-drill-${process.pid}`
  const http = `127.0.0.1:${await freePort()}`
  const agent = spawn(join(ROOT, 'dist', 'obfeed'), [
    ...['--exchange', exchange, '--map', map, '--workers', String(WORKERS), '--pin', 'off'],
    ...['--brokers', brokers, '--topic', topic, '--http', http],
    ...['--ws-url', simulator.wsUrl, '--rest-url', simulator.restUrl, '--log-level', 'info'],
  ], { stdio: ['ignore', 'ignore', 'pipe'] })
  let log = ''
  agent.stderr.on('data', (data) => log = `${log}${data}`.slice(-20_000))
  let exitCode: number | string | undefined
  const exited = new Promise<void>((resolve) =>
    agent.on('close', (code, signal) => {
      exitCode = code ?? signal ?? 'unknown'
      resolve()
    })
  )
  const consumer = new TopicConsumer(brokers)
  const { snapshot, loss } = adapter.protocol
  const provenDepth = loss === 'checksum' ? CHECKED_LEVELS : Infinity
  const judge = new BookJudge(simulator.exchange, consumer, snapshot === 'rest', provenDepth)
  const memory: { readonly atMs: number; readonly bytes: number }[] = []
  const sampling = setInterval(() => {
    memory.push({ atMs: performance.now(), bytes: residentBytes(agent.pid ?? 0) })
  }, 1000)
  try {
    const isReady = () => symbols.every((symbol) => consumer.books.get(symbol)?.valid === true)
    const topicExists = () => log.includes('started') || exitCode !== undefined
    if (!await until('the agent starts', 60_000, topicExists) || exitCode !== undefined) return
    const startedMs = performance.now()
    await consumer.start(topic)
    if (!await until('every book is valid', READY_WITHIN_MS, isReady)) return
    figures.readyS = Math.round((performance.now() - startedMs) / 1000)
    say(`${symbols.length} books are valid`)
    const calmMs = performance.now()
    await injectAll(simulator, seconds * 1000 * 0.9)
    simulator.clearFaults()
    await new Promise((resolve) => setTimeout(resolve, seconds * 1000 * 0.1))
    const endMs = performance.now()
    simulator.pause()
    const truths = new Map(symbols.map((symbol) => [symbol, simulator.truth(symbol)!]))
    const { view } = depthOf(adapter, 1000)
    let left: string[] = []
    const equal = () => (left = consumer.differences(truths, view, provenDepth)).length === 0
    // A quiet exchange says nothing that could show a silent socket: let it go on until all agree.
    const deadline = performance.now() + EQUAL_WITHIN_MS
    while (!equal() && performance.now() < deadline) {
      simulator.resume()
      await new Promise((resolve) => setTimeout(resolve, 10_000))
      simulator.pause()
      await new Promise((resolve) => setTimeout(resolve, 2_000))
      for (const symbol of symbols) truths.set(symbol, simulator.truth(symbol)!)
    }
    figures.equalAfterS = Math.round((performance.now() - endMs) / 1000)
    if (left.length > 0) problems.push(`at the end: ${left.slice(0, 5).join('; ')}`)
    measureMemory(memory, calmMs, endMs)
  } finally {
    clearInterval(sampling)
    agent.kill('SIGTERM')
    const slow = setTimeout(() => agent.kill('SIGKILL'), 40_000)
    await exited
    clearTimeout(slow)
    await consumer.stop()
    const { violations, connectionsOpened, framesSent, faultHits } = simulator.stats()
    for (const { rule, detail } of simulator.exchange.violations.slice(0, 5)) {
      problems.push(`rule broken: ${rule}: ${detail}`)
    }
    if (violations > 5) problems.push(`${violations} rules broken in all`)
    await simulator.close()
    if (exitCode !== 0) problems.push(`the agent ended with ${exitCode}: ${log.slice(-1500)}`)
    for (const fault of [...consumer.faults, ...judge.problems].slice(0, 5)) problems.push(fault)
    Object.assign(figures, {
      records: consumer.records,
      compared: judge.compared,
      invalids: [...consumer.books.values()].reduce((sum, { counts }) => sum + counts.invalid, 0),
      sockets: connectionsOpened,
      frames: framesSent,
      hits: Object.values(faultHits).reduce((sum: number, hits) => sum + (hits ?? 0), 0),
    })
    if (problems.length > 0) say(`agent log:\n${log.slice(-4000)}`)
  }
}

function measureMemory(
  memory: readonly { readonly atMs: number; readonly bytes: number }[],
  fromMs: number,
  toMs: number,
): void {
  const part = (from: number, to: number) =>
    median(
      memory
        .filter(({ atMs }) => atMs >= fromMs + (toMs - fromMs) * from)
        .filter(({ atMs }) => atMs <= fromMs + (toMs - fromMs) * to)
        .map(({ bytes }) => bytes),
    )
  const early = part(0.25, 0.45)
  const late = part(0.8, 1)
  figures.memoryMB = Math.round(late / 2 ** 20)
  figures.growthPercent = Math.round((late / early - 1) * 100)
  if (late > early * GROWTH_MAX && late - early > GROWTH_ALLOWED_BYTES) {
    problems.push(`memory grew from ${Math.round(early / 2 ** 20)} MB to ${figures.memoryMB} MB`)
  }
}

await main().catch((error) => problems.push(error instanceof Error ? error.stack! : String(error)))
process.stdout.write(`${JSON.stringify({ exchange, problems, figures })}\n`)
process.exit(problems.length === 0 ? 0 : 1)
