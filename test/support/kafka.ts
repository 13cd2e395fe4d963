/** A real Kafka broker for tests, by scripts/kafka; one per test file unless one is given. */
import { execFile } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import process from 'node:process'
import { promisify } from 'node:util'
import { until } from './until.ts'

export interface TestKafka {
  /** `host:port`, for --brokers. */
  readonly brokers: string
  /** Its data and settings; empty when the broker is not ours. */
  readonly dir: string
  /** Of the JVM; 0 when the broker is not ours. */
  readonly pid: number
  /** Ends it without a word, and resolves when it is gone. */
  kill9(): Promise<void>
  /** After `kill9`: the same data, the same port. Resolves when it answers. */
  restart(): Promise<void>
  /** Ends it and removes its data; nothing when it is not ours. */
  stop(): Promise<void>
}

export interface TestKafkaOptions {
  /** Never the one that OBFEED_TEST_BROKERS names: for tests that kill it. */
  readonly own?: boolean
  /** Broker settings, `key=value`; they make it our own. */
  readonly settings?: readonly string[]
}

const script = resolve(import.meta.dirname!, '../../scripts/kafka')
const run = promisify(execFile)

function isAlive(pid: number): boolean {
  try {
    // A zombie has ended too: it only waits for its parent to notice.
    return !/^State:\s+Z/m.test(readFileSync(`/proc/${pid}/status`, 'utf8'))
  } catch {
    return false
  }
}

/** Of the broker that was started in `dir`, also when the start has not come to its end; else 0. */
function readPid(dir: string): number {
  try {
    return Number(readFileSync(join(dir, 'pid'), 'utf8'))
  } catch {
    return 0
  }
}

/**
 * Starts a broker on free ports (about 6 s, once more the first time on a host), or hands out the
 * one that OBFEED_TEST_BROKERS names. Not for a `before` hook: Bun gives those 5 s unless it is run
 * with a longer --timeout; `const kafka = await startKafka()` at the top of the file has no limit.
 */
export async function startKafka(options: TestKafkaOptions = {}): Promise<TestKafka> {
  const given = process.env['OBFEED_TEST_BROKERS']
  if (given && options.own !== true && options.settings === undefined) {
    return {
      brokers: given,
      pid: 0,
      dir: '',
      kill9: () => Promise.reject(new Error('OBFEED_TEST_BROKERS is not ours to kill')),
      restart: () => Promise.resolve(),
      stop: () => Promise.resolve(),
    }
  }
  const dir = mkdtempSync(join(tmpdir(), 'obfeed-kafka-'))
  const settings = (options.settings ?? []).flatMap((setting) => ['--set', setting])
  let pid = 0
  const end = () => {
    pid = readPid(dir)
    if (pid > 0 && isAlive(pid)) process.kill(pid, 'SIGKILL')
  }
  const start = async () => {
    const { stdout } = await run(script, ['start', '--dir', dir, ...settings])
    pid = readPid(dir)
    return stdout.trim()
  }
  const kill9 = async () => {
    end()
    await until('the broker is gone', 10_000, () => !isAlive(pid))
  }
  process.once('exit', end)
  let brokers: string
  try {
    brokers = await start()
  } catch (error) {
    end()
    rmSync(dir, { recursive: true, force: true })
    throw error
  }
  return {
    brokers,
    dir,
    get pid() {
      return pid
    },
    kill9,
    async restart() {
      await start()
    },
    async stop() {
      process.off('exit', end)
      await kill9()
      rmSync(dir, { recursive: true, force: true })
    },
  }
}
