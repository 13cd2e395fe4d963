/** Runs the compiled binary as a user would: real processes, free ports, nothing left behind. */
import { type ChildProcess, spawn } from 'node:child_process'
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import process from 'node:process'
import { until } from './until.ts'

export const BINARY = process.env['OBFEED_TEST_BINARY'] ??
  resolve(import.meta.dirname!, '../../dist/obfeed')

export interface Program {
  readonly pid: number
  readonly child: ChildProcess
  stdout(): string
  stderr(): string
  /** Exit code, or the signal's name. */
  readonly exited: Promise<number | string>
  stop(signal?: NodeJS.Signals): Promise<number | string>
}

const running = new Set<ChildProcess>()
process.on('exit', () => {
  for (const child of running) child.kill('SIGKILL')
})

/** Starts the binary (or another program) and collects what it prints. */
export function start(args: readonly string[], program = BINARY): Program {
  const child = spawn(program, args, { stdio: ['ignore', 'pipe', 'pipe'] })
  running.add(child)
  let stdout = ''
  let stderr = ''
  child.stdout!.on('data', (data: Buffer) => (stdout += data.toString()))
  child.stderr!.on('data', (data: Buffer) => (stderr += data.toString()))
  const exited = new Promise<number | string>((done) => {
    child.once('error', (error) => {
      running.delete(child)
      done(`not started: ${error.message}`)
    })
    child.once('close', (code, signal) => {
      running.delete(child)
      done(code ?? signal ?? 'unknown')
    })
  })
  return {
    pid: child.pid ?? 0,
    child,
    stdout: () => stdout,
    stderr: () => stderr,
    exited,
    stop(signal: NodeJS.Signals = 'SIGTERM') {
      child.kill(signal)
      return exited
    },
  }
}

/** A TCP port of 127.0.0.1 that was free a moment ago. */
export function freePort(): Promise<number> {
  return new Promise((done, fail) => {
    const server = createServer()
    server.once('error', fail)
    server.listen(0, '127.0.0.1', () => {
      const address = server.address()
      server.close(() => done(typeof address === 'object' && address ? address.port : 0))
    })
  })
}

/** A folder that is gone after `body`, whatever happens. */
export async function inTemporaryFolder<T>(body: (folder: string) => Promise<T>): Promise<T> {
  const folder = mkdtempSync(join(tmpdir(), 'obfeed-test-'))
  try {
    return await body(folder)
  } finally {
    rmSync(folder, { recursive: true, force: true })
  }
}

export function writeMap(folder: string, map: Readonly<Record<string, number>>): string {
  const path = join(folder, 'map.json')
  writeFileSync(path, JSON.stringify(map))
  return path
}

/** Direct children of `pid` whose process name starts with `name`. */
export function childrenOf(pid: number, name: string): number[] {
  const found: number[] = []
  for (const entry of readdirSync('/proc')) {
    if (!/^\d+$/.test(entry)) continue
    try {
      const stat = readFileSync(`/proc/${entry}/stat`, 'utf8')
      const end = stat.lastIndexOf(')')
      const parent = Number(stat.slice(end + 2).split(' ')[1])
      if (parent === pid && stat.slice(stat.indexOf('(') + 1, end).startsWith(name)) {
        found.push(Number(entry))
      }
    } catch {
      // gone meanwhile
    }
  }
  return found
}

/** Resident memory of a process in MB; 0 when it is gone. */
export function rssMb(pid: number): number {
  try {
    const match = /VmRSS:\s+(\d+) kB/.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))
    return Number(match?.[1] ?? 0) / 1024
  } catch {
    return 0
  }
}

/** HTTP GET on loopback; status 0 when nothing answers. */
export async function get(url: string): Promise<{ status: number; body: string }> {
  try {
    const response = await fetch(url, { signal: AbortSignal.timeout(5000) })
    return { status: response.status, body: await response.text() }
  } catch {
    return { status: 0, body: '' }
  }
}

export async function post(url: string, body: unknown): Promise<void> {
  const response = await fetch(url, {
    method: 'POST',
    body: JSON.stringify(body),
    signal: AbortSignal.timeout(5000),
  })
  const text = await response.text()
  if (!response.ok) throw new Error(`POST ${url}: ${response.status} ${text}`)
}

/** Waits until the agent's /readyz is 200. */
export async function ready(http: string, program: Program, timeoutMs = 30_000): Promise<void> {
  let last = ''
  await until(() => `ready (${last})\n${program.stderr()}`, timeoutMs, async () => {
    const answer = await get(`http://${http}/readyz`)
    last = answer.body
    return answer.status === 200
  })
}
