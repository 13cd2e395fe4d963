/** `scripts/worlds`: runs any number of worlds and prints a line that replays the first that fails. */
import { spawn } from 'node:child_process'
import { createInterface } from 'node:readline'
import { parseArgs } from 'node:util'
import { PLANTED, type PlantedBug, REGRESSIONS } from './planted.ts'
import { exchangeOf, EXCHANGES, type Planted, runWorld } from './world.ts'

function integer(text: string, flag: string): number {
  const value = Number(text)
  if (!Number.isSafeInteger(value) || value < 0) {
    console.error(`--${flag} is "${text}", expected a whole number`)
    process.exit(64)
  }
  return value
}

function replayLine(seed: number, exchange: string, bug: string | undefined): string {
  return `./scripts/worlds --seeds 1 --from ${seed} --exchange ${exchange}` +
    (bug === undefined ? '' : ` --bug ${bug}`)
}

function flags() {
  try {
    return parseArgs({
      options: {
        seeds: { type: 'string', default: '1000' },
        from: { type: 'string', default: '1' },
        verbose: { type: 'boolean', default: false },
        bug: { type: 'string' },
        exchange: { type: 'string' },
        jobs: { type: 'string', default: '1' },
      },
    }).values
  } catch (error) {
    console.error(
      `${
        (error as Error).message
      }\nusage: ./scripts/worlds [--seeds N] [--from S] [--exchange X] ` +
        '[--verbose] [--bug NAME] [--jobs N]',
    )
    process.exit(64)
  }
}

async function main(): Promise<number> {
  const values = flags()
  const seeds = integer(values.seeds, 'seeds')
  const from = integer(values.from, 'from')
  const { bug } = values
  const bugs: Readonly<Record<string, PlantedBug>> = { ...PLANTED, ...REGRESSIONS }
  const planted = bug === undefined ? undefined : bugs[bug]?.planted
  if (bug !== undefined && planted === undefined) {
    const names = Object.keys(bugs).join(', ')
    console.error(`--bug is "${bug}", expected one of ${names}`)
    process.exit(64)
  }
  const exchange = values.exchange ?? bugs[bug ?? '']?.exchange
  if (exchange !== undefined && !EXCHANGES.includes(exchange)) {
    console.error(`--exchange is "${exchange}", expected one of ${EXCHANGES.join(', ')}`)
    process.exit(64)
  }
  const jobs = Math.min(Math.max(1, integer(values.jobs, 'jobs')), seeds)
  const began = performance.now()
  const sum = jobs > 1
    ? await inProcesses(jobs, from, seeds)
    : await inThisOne(from, seeds, exchange, bug, planted, values.verbose)
  if (process.env[PART] !== undefined) {
    process.stdout.write(PART_PREFIX + JSON.stringify(sum) + '\n')
    return 0
  }
  report(sum, seeds, (performance.now() - began) / 1000)
  return sum.failures === 0 && sum.worlds === seeds ? 0 : 1
}

/** What some worlds came to. */
interface Sum {
  worlds: number
  failures: number
  events: number
  records: number
  compared: number
  virtualS: number
  readonly faults: Record<string, number>
}

function noSum(): Sum {
  return { worlds: 0, failures: 0, events: 0, records: 0, compared: 0, virtualS: 0, faults: {} }
}

function add(sum: Sum, more: Sum): void {
  for (const key of ['worlds', 'failures', 'events', 'records', 'compared', 'virtualS'] as const) {
    sum[key] += more[key]
  }
  for (const [kind, count] of Object.entries(more.faults)) {
    sum.faults[kind] = (sum.faults[kind] ?? 0) + count
  }
}

async function inThisOne(
  from: number,
  seeds: number,
  exchange: string | undefined,
  bug: string | undefined,
  planted: Planted | undefined,
  verbose: boolean,
): Promise<Sum> {
  const sum = noSum()
  for (let seed = from; seed < from + seeds; seed++) {
    const result = await runWorld(seed, {
      exchange: exchange ?? exchangeOf(seed),
      ...(planted === undefined ? {} : { planted }),
      ...(verbose ? { trace: (line) => console.log(line) } : {}),
    })
    const { events, records, compared, virtualS, failure } = result
    const failures = failure === undefined ? 0 : 1
    const faults = Object.fromEntries(result.faults)
    add(sum, { worlds: 1, failures, events, records, compared, virtualS, faults })
    if (failure !== undefined) {
      console.log(replayLine(seed, result.exchange, bug) + `   # ${failure}`)
    }
  }
  return sum
}

/** Set in the processes that run a part each, and tell what it came to in a last line of their own. */
const PART = 'OBFEED_WORLDS_PART'
const PART_PREFIX = 'part: '

/** Each runs a stretch of the seeds; what fails is shown as it comes. */
async function inProcesses(jobs: number, from: number, seeds: number): Promise<Sum> {
  const sum = noSum()
  const others = process.argv.slice(2)
  await Promise.all(Array.from({ length: jobs }, async (_, job) => {
    const first = from + Math.floor(seeds * job / jobs)
    const count = from + Math.floor(seeds * (job + 1) / jobs) - first
    const part = ['--jobs', '1', '--from', String(first), '--seeds', String(count)]
    // Of a flag that is given twice the last one counts.
    const child = spawn(process.execPath, [process.argv[1]!, ...others, ...part], {
      stdio: ['ignore', 'pipe', 'inherit'],
      env: { ...process.env, [PART]: String(job) },
    })
    const ended = new Promise<number | null>((resolve) => {
      child.once('error', () => resolve(null))
      child.once('close', resolve)
    })
    for await (const line of createInterface({ input: child.stdout })) {
      if (line.startsWith(PART_PREFIX)) add(sum, JSON.parse(line.slice(PART_PREFIX.length)))
      else console.log(line)
    }
    const code = await ended
    if (code !== 0) {
      console.error(`the process of seeds ${first} to ${first + count - 1} ended with ${code}`)
    }
  }))
  return sum
}

function report(sum: Sum, seeds: number, seconds: number): void {
  const list = Object.entries(sum.faults).sort(([a], [b]) => a < b ? -1 : 1)
  for (const [kind, count] of list) console.log(`  ${String(count).padStart(9)}  ${kind}`)
  console.log(
    `${sum.worlds} worlds, ${sum.failures} failed: ${(seeds / seconds).toFixed(1)} seeds/s, ` +
      `${seconds.toFixed(1)} s for ${Math.round(sum.virtualS)} s of virtual time; ` +
      `${sum.events} events, ${sum.records} records stored, ${sum.compared} books compared`,
  )
}

process.exitCode = await main()
