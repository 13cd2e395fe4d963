/** Drills the exchanges, several at a time, each in a process of its own, and prints what came out. */
import { spawn } from 'node:child_process'
import { join } from 'node:path'
import process from 'node:process'
import { parseArgs } from 'node:util'
import { adapters } from '../../src/exchanges/index.ts'
import type { DrillResult } from './exchange.ts'

const PROGRAM = join(import.meta.dirname ?? '.', 'exchange.ts')

const { values } = parseArgs({
  options: {
    brokers: { type: 'string', default: 'localhost:9092' },
    seconds: { type: 'string', default: '300' },
    only: { type: 'string', default: Object.keys(adapters).join(',') },
    jobs: { type: 'string', default: '3' },
    json: { type: 'boolean', default: false },
  },
})

function drill(exchange: string): Promise<DrillResult> {
  return new Promise((resolve) => {
    const { brokers, seconds } = values
    const child = spawn(process.execPath, [PROGRAM, exchange, brokers, seconds], {
      stdio: ['ignore', 'pipe', 'inherit'],
    })
    let output = ''
    child.stdout.on('data', (data) => output += data)
    child.on('close', (code) => {
      const line = output.trim().split('\n').at(-1) ?? ''
      resolve(
        line.startsWith('{')
          ? JSON.parse(line) as DrillResult
          : { exchange, problems: [`the drill ended with ${code}`], figures: {} },
      )
    })
  })
}

async function main(): Promise<number> {
  const queue = values.only.split(',')
  for (const exchange of queue) {
    if (Object.hasOwn(adapters, exchange)) continue
    console.error(`--only has "${exchange}", expected ${Object.keys(adapters).join(', ')}`)
    return 64
  }
  const results: DrillResult[] = []
  const worker = async (): Promise<void> => {
    for (let next = queue.shift(); next !== undefined; next = queue.shift()) {
      const result = await drill(next)
      results.push(result)
      if (!values.json) print(result)
    }
  }
  await Promise.all(Array.from({ length: Number(values.jobs) }, worker))
  if (values.json) console.log(JSON.stringify({ drills: results }))
  return results.every(({ problems }) => problems.length === 0) ? 0 : 1
}

function print({ exchange, problems, figures }: DrillResult): void {
  const shown = Object.entries(figures).map(([name, value]) => `${name} ${value}`).join(', ')
  console.log(`${problems.length === 0 ? 'ok    ' : 'FAILED'} ${exchange.padEnd(17)} ${shown}`)
  for (const problem of problems) console.log(`         ${problem}`)
}

process.exitCode = await main()
