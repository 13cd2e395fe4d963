/**
 * Compares this project with ccxt on the same frames in one run, and its byte scanners with
 * JSON.parse: programs built alike, pinned to one core, in turns, medians over the passes. `main.ts [pipe|memory|start|decode ...] [--json]
 * [--passes N]`. Exits 1 when a required ratio is missed.
 */
import { execFileSync, spawn } from 'node:child_process'
import { mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import process from 'node:process'
import { startSimulator } from '../../src/simulator/server.ts'

const ROOT = join(import.meta.dirname ?? '.', '..', '..')
/** Its own, so that two runs do not take each other's programs away. */
const FOLDER = join(ROOT, 'dist', `.bench-${process.pid}`)
const BUN = join(ROOT, 'node_modules', '.bin', 'bun')
const SEED = '20260824'
const START_TIMEOUT_MS = 60_000

type Group = 'pipe' | 'memory' | 'start' | 'decode'
const GROUPS: readonly Group[] = ['pipe', 'memory', 'start', 'decode']

interface Case {
  readonly group: Group
  readonly name: string
  /** Least `ratio`; for memory, the most. Absent: for information. */
  readonly required?: number
  readonly aim?: number
  readonly requiredP50?: number
  readonly requiredP99?: number
  /** A byte scanner against JSON.parse with a walk, by what is read. */
  readonly scan?: 'Frame' | 'Snapshot'
  readonly args: readonly string[]
}

/** Levels in a frame on average, about as the exchanges send them. */
const SCANNED: Readonly<Record<string, number>> = {
  binance: 4,
  binanceusdm: 8,
  bybit: 30,
  okx: 20,
  kraken: 1,
  coinbaseexchange: 2,
  bitfinex: 1,
}
const SCANNED_FRAMES = 4000

/** Two rows of one program each: what is required of the updates, and the snapshots. */
function scanCases(): Case[] {
  return Object.entries(SCANNED).flatMap(([exchange, levels]): Case[] => {
    const args = [exchange, String(levels), String(SCANNED_FRAMES)]
    return [
      { group: 'decode', name: `scan-${exchange}`, required: 3, scan: 'Frame', args },
      { group: 'decode', name: `scan-${exchange}-snapshot`, scan: 'Snapshot', args },
    ]
  })
}

const CASES: readonly Case[] = [
  {
    group: 'pipe',
    name: 'pipe-20000-2',
    required: 15,
    aim: 25,
    requiredP50: 12,
    requiredP99: 25,
    args: ['pipe', '20000', '3', '10000', SEED],
  },
  {
    group: 'pipe',
    name: 'pipe-500-2',
    required: 3.5,
    aim: 5,
    args: ['pipe', '500', '3', '10000', SEED],
  },
  {
    group: 'pipe',
    name: 'pipe-20000-100',
    required: 25,
    aim: 45,
    args: ['pipe', '20000', '199', '300', SEED],
  },
  { group: 'decode', name: 'decode-2', args: ['decode', '500', '3', '10000', SEED] },
  { group: 'decode', name: 'decode-100', args: ['decode', '500', '199', '1000', SEED] },
  {
    group: 'memory',
    name: 'memory-1000x500',
    required: 0.6,
    aim: 0.54,
    args: ['memory', '500', '1', '1000', SEED],
  },
  ...scanCases(),
  { group: 'start', name: 'start-500', required: 1.2, aim: 3, args: ['500'] },
  { group: 'start', name: 'start-20000', required: 1.2, aim: 3, args: ['20000'] },
]

/** What one run of one program says; numbers by name. */
type Reading = Readonly<Record<string, number>>

interface Result {
  readonly name: string
  /** ccxt or walk / ours, more is better; for memory ours / ccxt, less is better. */
  readonly ratio: number
  readonly p50Ratio?: number
  readonly p99Ratio?: number
  readonly required?: number
  readonly aim?: number
  readonly requiredP50?: number
  readonly requiredP99?: number
  readonly oursNs?: number
  readonly ccxtNs?: number
  /** JSON.parse with a walk. */
  readonly walkNs?: number
  readonly oursBytes?: number
  readonly ccxtBytes?: number
  /** ours / ccxt of the whole process, code and all; `ratio` is of what the books added. */
  readonly rssRatio?: number
  readonly ok: boolean
}

function say(line: string): void {
  process.stderr.write(`${line}\n`)
}

function fail(message: string): never {
  say(`bench: ${message}`)
  process.exit(64)
}

function build(name: string): string {
  const out = join(FOLDER, name)
  const source = join(ROOT, 'scripts', 'benchmark', `${name}.ts`)
  const flags = ['--compile', '--bytecode', '--minify', '--outfile', out]
  execFileSync(BUN, ['build', source, ...flags], { stdio: ['ignore', 'ignore', 'inherit'] })
  return out
}

/** The last CPU this process may use: the first one tends to serve the interrupts. */
function lastCpu(): string {
  const status = readFileSync('/proc/self/status', 'utf8')
  const list = /^Cpus_allowed_list:\s*(.*)$/m.exec(status)?.[1] ?? '0'
  return list.split(/[,-]/).at(-1) ?? '0'
}

function runPinned(cpu: string, program: string, args: readonly string[]): Reading {
  const output = execFileSync('taskset', ['-c', cpu, program, ...args], {
    encoding: 'utf8',
    stdio: ['ignore', 'pipe', 'pipe'],
    maxBuffer: 1 << 20,
  })
  return JSON.parse(output) as Reading
}

/** Milliseconds from exec to the end of the first line on stdout that `isWanted`. */
function timeToLine(program: string, args: readonly string[], isWanted: RegExp): Promise<number> {
  return new Promise((resolve, reject) => {
    const start = performance.now()
    const child = spawn(program, args, { stdio: ['ignore', 'pipe', 'pipe'] })
    let elapsed = -1
    // Only the head of the line is kept: a snapshot may have megabytes.
    let head = ''
    let errors = ''
    const deadline = setTimeout(() => child.kill('SIGKILL'), START_TIMEOUT_MS)
    child.stderr.on('data', (chunk: Uint8Array) => errors = `${errors}${chunk}`.slice(-2000))
    child.stdout.on('data', (chunk: Uint8Array) => {
      if (elapsed >= 0) return
      const end = chunk.lastIndexOf(10)
      if (head.length < 200) head += new TextDecoder().decode(chunk.subarray(0, 200))
      if (end < 0) return
      if (isWanted.test(head)) {
        elapsed = performance.now() - start
        child.kill('SIGTERM')
      } else head = ''
    })
    child.on('error', reject)
    child.on('close', () => {
      clearTimeout(deadline)
      if (elapsed >= 0) resolve(elapsed)
      else reject(new Error(`${program} ended without a book: ${errors}`))
    })
  })
}

function median(readings: readonly Reading[], field: string): number {
  const values = readings.map((reading) => reading[field]).sort((a, b) => a - b)
  return values[values.length >> 1]
}

function judge(one: Case, ours: readonly Reading[], ccxt: readonly Reading[]): Result {
  const times = (field: string) => median(ccxt, field) / median(ours, field)
  const base = {
    name: one.name,
    ...(one.required === undefined ? {} : { required: one.required }),
    ...(one.aim === undefined ? {} : { aim: one.aim }),
  }
  const reached = (ratio: number, least: number | undefined) =>
    least === undefined || ratio >= least
  if (one.group === 'memory') {
    const ratio = 1 / times('growthBytes')
    return {
      ...base,
      ratio,
      rssRatio: 1 / times('rssBytes'),
      oursBytes: median(ours, 'growthBytes'),
      ccxtBytes: median(ccxt, 'growthBytes'),
      ok: ratio <= (one.required ?? Infinity),
    }
  }
  const ratio = times('nsPerFrame')
  const named = {
    ...base,
    ratio,
    oursNs: Math.round(median(ours, 'nsPerFrame')),
    ccxtNs: Math.round(median(ccxt, 'nsPerFrame')),
  }
  if (one.group === 'start') return { ...named, ok: reached(ratio, one.required) }
  const p50Ratio = times('p50Ns')
  const p99Ratio = times('p99Ns')
  return {
    ...named,
    p50Ratio,
    p99Ratio,
    ...(one.requiredP50 === undefined ? {} : { requiredP50: one.requiredP50 }),
    ...(one.requiredP99 === undefined ? {} : { requiredP99: one.requiredP99 }),
    ok: reached(ratio, one.required) && reached(p50Ratio, one.requiredP50) &&
      reached(p99Ratio, one.requiredP99),
  }
}

async function startCases(cases: readonly Case[], passes: number): Promise<Result[]> {
  const obfeed = join(ROOT, 'dist', 'obfeed')
  say('building dist/obfeed')
  execFileSync(join(ROOT, 'scripts', 'build'), { stdio: ['ignore', 'ignore', 'inherit'] })
  const ccxt = build('ccxt-start')
  const map = join(FOLDER, 'map.json')
  writeFileSync(map, '{"BTC/USD": 0}\n')
  const results: Result[] = []
  for (const one of cases) {
    const simulator = await startSimulator({
      symbols: 10,
      levels: Number(one.args[0]),
      rate: 100,
      seed: 1,
      connectsPerSecond: 1000,
      messagesPerSecond: 1000,
    })
    try {
      const { wsUrl, restUrl } = simulator
      const flags = ['--sink', 'stdout', '--ws-url', wsUrl, '--rest-url', restUrl, '--http', 'off']
      const ours: Reading[] = []
      const theirs: Reading[] = []
      // One more than asked for: the first brings both programs into the page cache.
      for (let pass = 0; pass <= passes; pass++) {
        const command = ['--exchange', 'coinbase', '--map', map, ...flags]
        const oursMs = await timeToLine(obfeed, command, /"type":"snapshot"/)
        const ccxtMs = await timeToLine(ccxt, [wsUrl, restUrl, 'BTC/USD'], /"bids":/)
        say(`${one.name} pass ${pass}: ours ${oursMs.toFixed(0)} ms, ccxt ${ccxtMs.toFixed(0)} ms`)
        if (pass === 0) continue
        ours.push({ nsPerFrame: oursMs * 1e6 })
        theirs.push({ nsPerFrame: ccxtMs * 1e6 })
      }
      results.push(judge(one, ours, theirs))
    } finally {
      await simulator.close()
    }
  }
  return results
}

function judgeScan(one: Case, readings: readonly Reading[]): Result {
  const [ours, walk] = [`nsPer${one.scan}`, `walkNsPer${one.scan}`]
  // Both in one process, in turns: a pass on a slow core is slow for both.
  const ratio = median(
    readings.map((reading) => ({ ratio: reading[walk] / reading[ours] })),
    'ratio',
  )
  return {
    name: one.name,
    ...(one.required === undefined ? {} : { required: one.required }),
    ratio,
    oursNs: Math.round(median(readings, ours)),
    walkNs: Math.round(median(readings, walk)),
    ok: ratio >= (one.required ?? 0),
  }
}

function scannedCases(cases: readonly Case[], passes: number): Result[] {
  say("building the scanners' program")
  const program = build('scan')
  const cpu = lastCpu()
  const readings = new Map<string, Reading[]>()
  for (let pass = 1; pass <= passes; pass++) {
    for (const [exchange, args] of new Map(cases.map(({ args }) => [args[0], args]))) {
      const reading = runPinned(cpu, program, args)
      readings.set(exchange, [...readings.get(exchange) ?? [], reading])
      say(`pass ${pass}/${passes} scan-${exchange}: ${JSON.stringify(reading)}`)
    }
  }
  return cases.map((one) => judgeScan(one, readings.get(one.args[0])!))
}

function pinnedCases(cases: readonly Case[], passes: number): Result[] {
  say('building the programs')
  const programs = [build('ours'), build('ccxt')]
  const cpu = lastCpu()
  const readings = cases.map((): [Reading[], Reading[]] => [[], []])
  for (let pass = 1; pass <= passes; pass++) {
    cases.forEach((one, i) => {
      programs.forEach((program, k) => readings[i][k].push(runPinned(cpu, program, one.args)))
      say(`pass ${pass}/${passes} ${one.name}: ${JSON.stringify(readings[i].map((r) => r.at(-1)))}`)
    })
  }
  return cases.map((one, i) => judge(one, ...readings[i]))
}

function table(results: readonly Result[]): string {
  const amount = (
    { oursNs, ccxtNs, walkNs, oursBytes, ccxtBytes }: Result,
  ): [string, string, string] => {
    const bytes = (value: number) => `${(value / 1e6).toFixed(1)} MB`
    const time = (ns: number) =>
      ns >= 1e7 ? `${(ns / 1e6).toFixed(0)} ms` : `${(ns / 1e3).toFixed(2)} us`
    if (oursBytes !== undefined && ccxtBytes !== undefined) {
      return [bytes(oursBytes), bytes(ccxtBytes), '-']
    }
    const other = (ns: number | undefined) => ns === undefined ? '-' : time(ns)
    return [time(oursNs ?? 0), other(ccxtNs), other(walkNs)]
  }
  const rows = [['case', 'ours', 'ccxt', 'walk', 'ratio', 'required', 'aim', 'p50', 'p99', '']]
  for (const result of results) {
    const { ratio, required, aim, p50Ratio, p99Ratio, requiredP50, requiredP99, ok } = result
    const sign = result.oursBytes === undefined ? '>=' : '<='
    const least = (value: number | undefined) => value === undefined ? '' : ` (>= ${value})`
    rows.push([
      result.name,
      ...amount(result),
      `${ratio.toFixed(2)}x`,
      required === undefined ? '-' : `${sign} ${required}`,
      aim === undefined ? '-' : String(aim),
      p50Ratio === undefined ? '-' : `${p50Ratio.toFixed(1)}x${least(requiredP50)}`,
      p99Ratio === undefined ? '-' : `${p99Ratio.toFixed(1)}x${least(requiredP99)}`,
      ok ? 'ok' : 'MISSED',
    ])
  }
  const widths = rows[0].map((_, column) => Math.max(...rows.map((row) => row[column].length)))
  return rows.map((row) => row.map((cell, i) => cell.padEnd(widths[i])).join('  ').trimEnd())
    .join('\n')
}

const NOTES = `
pipe: CPU time of one frame from bytes to event (p50, p99: wall time of single frames); ours includes the sequence check, the exact top-1000
view and the copy into a lane. ccxt 4.5.84: its own client callback and Coinbase handler, then
JSON.stringify of the frame's changes. It checks no sequence there, keeps no view, and neither its
promises nor the bytes of the text are counted: the comparison is generous to it.
scan: CPU time of one frame from bytes to level changes (no book), of frames that a simulated exchange
sends for five symbols. walk: the same bytes through TextDecoder and JSON.parse, then a hand-written
walk that makes numbers of every price and size; it checks, keeps and orders nothing. Snapshots of
exchanges that send none on the socket come as REST answers, which take JSON.parse here, too.
memory: resident bytes that 1,000 symbols of 2 x 500 levels add, ours / ccxt (less is better).
start: exec of the user's command line to the first snapshot on stdout, same simulator; ccxt:
loadMarkets, watchOrderBook, print, with its rate limiter off. Not pinned: both use what there is.`

async function main(): Promise<void> {
  const words = process.argv.slice(2)
  let json = false
  let passes = 3
  const groups: Group[] = []
  for (let i = 0; i < words.length; i++) {
    const word = words[i]
    if (word === '--json') json = true
    else if (word === '--passes') passes = Number(words[++i])
    else if (GROUPS.includes(word as Group)) groups.push(word as Group)
    else fail(`unknown word "${word}"; expected ${GROUPS.join(', ')}, --json or --passes N`)
  }
  if (!Number.isInteger(passes) || passes < 1) fail('--passes wants a whole number above 0')
  if (passes < 3) say('fewer than 3 passes: the medians say little')
  const wanted = CASES.filter((one) =>
    groups.length === 0 ? one.group !== 'decode' : groups.includes(one.group)
  )
  mkdirSync(FOLDER, { recursive: true })
  const results: Result[] = []
  const scanned = wanted.filter((one) => one.scan !== undefined)
  const pinned = wanted.filter((one) => one.group !== 'start' && one.scan === undefined)
  const starts = wanted.filter((one) => one.group === 'start')
  try {
    if (pinned.length > 0) results.push(...pinnedCases(pinned, passes))
    if (scanned.length > 0) results.push(...scannedCases(scanned, passes))
    if (starts.length > 0) results.push(...await startCases(starts, passes))
  } finally {
    rmSync(FOLDER, { recursive: true, force: true })
  }
  if (json) {
    say(table(results))
    process.stdout.write(`${JSON.stringify({ passes, cases: results })}\n`)
  } else process.stdout.write(`${table(results)}\n`)
  say(NOTES)
  if (results.some((result) => !result.ok)) process.exitCode = 1
}

main().catch((error) => {
  say(error instanceof Error ? error.stack ?? error.message : String(error))
  process.exitCode = 1
})
