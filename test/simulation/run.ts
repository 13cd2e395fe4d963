/** `scripts/worlds`: runs any number of worlds and prints a line that replays the first that fails. */
import { parseArgs } from 'node:util'
import { PLANTED, type PlantedBug, REGRESSIONS } from './planted.ts'
import { exchangeOf, EXCHANGES, runWorld } from './world.ts'

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
      },
    }).values
  } catch (error) {
    console.error(
      `${
        (error as Error).message
      }\nusage: ./scripts/worlds [--seeds N] [--from S] [--exchange X] ` +
        '[--verbose] [--bug NAME]',
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
  const faults = new Map<string, number>()
  let events = 0
  let records = 0
  let compared = 0
  let virtualS = 0
  let failures = 0
  const began = performance.now()
  for (let seed = from; seed < from + seeds; seed++) {
    const result = await runWorld(seed, {
      exchange: exchange ?? exchangeOf(seed),
      ...(planted === undefined ? {} : { planted }),
      ...(values.verbose ? { trace: (line) => console.log(line) } : {}),
    })
    events += result.events
    records += result.records
    compared += result.compared
    virtualS += result.virtualS
    for (const [kind, count] of result.faults) faults.set(kind, (faults.get(kind) ?? 0) + count)
    if (result.failure !== undefined) {
      failures++
      console.log(replayLine(seed, result.exchange, bug) + `   # ${result.failure}`)
    }
  }
  const seconds = (performance.now() - began) / 1000
  const list = [...faults].sort(([a], [b]) => a < b ? -1 : 1)
  for (const [kind, count] of list) console.log(`  ${String(count).padStart(9)}  ${kind}`)
  console.log(
    `${seeds} worlds, ${failures} failed: ${(seeds / seconds).toFixed(1)} seeds/s, ` +
      `${seconds.toFixed(1)} s for ${Math.round(virtualS)} s of virtual time; ` +
      `${events} events, ${records} records stored, ${compared} books compared`,
  )
  return failures === 0 ? 0 : 1
}

process.exitCode = await main()
