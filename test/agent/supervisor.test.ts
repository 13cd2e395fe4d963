/** Life and death of worker processes, with stand-ins that misbehave on demand. */
import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { resolve } from 'node:path'
import process from 'node:process'
import { Writable } from 'node:stream'
import { describe, test } from 'node:test'
import { RESTART_POLICY, type RestartPolicy } from '../../src/agent/restarts.ts'
import { workerEnvironment } from '../../src/agent/runtime.ts'
import { Supervisor } from '../../src/agent/supervisor.ts'
import type { Settings } from '../../src/config/settings.ts'
import { until } from '../support/until.ts'
import { planOf } from './fixtures.ts'

const STAND_IN = resolve(import.meta.dirname!, 'stand-in.ts')
const SLOW = { timeout: 60_000 }
const settings = { drainTimeoutMs: 1000 } as Settings
const quick: RestartPolicy = { ...RESTART_POLICY, backoffMinMs: 20, backoffMaxMs: 50, budget: 3 }

interface Options {
  readonly policy?: Partial<RestartPolicy>
  readonly lines?: Writable
  readonly file?: string
}

class Crew {
  readonly notices: string[] = []
  readonly supervisor: Supervisor

  /** One stand-in per behaviour. */
  constructor(behaviours: readonly string[], options: Options = {}) {
    const { lines } = options
    const runner = process.argv0.includes('deno') ? ['run', '-A'] : []
    this.supervisor = new Supervisor({
      seats: behaviours.map((_, id) => ({ id })),
      command: (id) => ({
        file: options.file ?? process.execPath,
        args: [...runner, STAND_IN, behaviours[id], `${id}`],
      }),
      environment: workerEnvironment(process.env),
      output: options.lines === undefined ? 'stderr' : 'pipe',
      ...(lines === undefined ? {} : { lines: () => lines }),
      buildId: 'ours',
      producer: 'host/1/0.1.0',
      notice: (level, message) => this.notices.push(`${level} ${message}`),
      policy: { ...quick, ...options.policy },
    })
    this.supervisor.start()
    this.supervisor.assign(settings, behaviours.map((_, id) => planOf(id, 'BTC/USD')))
  }

  pid(id: number): number | undefined {
    return this.supervisor.views()[id].pid
  }

  restarts(id: number): Readonly<Record<string, number>> {
    return this.supervisor.views()[id].restarts
  }

  async running(...ids: number[]): Promise<void> {
    await until(
      () => `workers run ${this.notices}`,
      10_000,
      () => ids.every((id) => this.supervisor.views()[id].stats !== undefined),
    )
  }

  async exits(timeoutMs = 10_000): Promise<number> {
    let code: number | undefined
    this.supervisor.ended.then((exitCode) => code = exitCode)
    await until(() => `the end ${this.notices}`, timeoutMs, () => code !== undefined)
    return code!
  }
}

/** Runs `body` and lets no process survive it. */
async function crew(
  behaviours: readonly string[],
  body: (crew: Crew) => Promise<void>,
  options: Options = {},
): Promise<void> {
  const all = new Crew(behaviours, options)
  try {
    await body(all)
  } finally {
    all.supervisor.kill(0)
    await all.supervisor.ended
  }
}

function isAlive(pid: number): boolean {
  try {
    return !/^State:\s+Z/m.test(readFileSync(`/proc/${pid}/status`, 'utf8'))
  } catch {
    return false
  }
}

describe('restarts', () => {
  test(
    'a killed worker comes back, the others do not notice, its counters stay',
    SLOW,
    () =>
      crew(['steady', 'steady'], async (all) => {
        await all.running(0, 1)
        const [first, other] = [all.pid(0)!, all.pid(1)!]
        const { epochMax } = all.supervisor.views()[0].stats!.feed
        assert.equal(epochMax, 1, 'nobody was there before: its floor was 0')
        process.kill(first, 'SIGKILL')
        await until('a new worker', 10_000, () => {
          const { pid, stats } = all.supervisor.views()[0]
          return pid !== undefined && pid !== first && stats !== undefined
        })
        assert.deepEqual(all.restarts(0), { signal: 1 })
        assert.deepEqual(all.restarts(1), {})
        assert.equal(all.pid(1), other)
        const view = all.supervisor.views()[0]
        assert.equal(view.totals.frames, 20, 'both lives')
        // The first life reported epoch 1; what it may have begun since is left out as well.
        assert.ok(view.stats!.feed.epochMax > 1 + 1000)
      }),
  )

  test(
    'a worker that died before its first report had published all the same',
    SLOW,
    () =>
      crew(['dies-unheard'], async (all) => {
        const begunMs = Date.now()
        await all.running(0)
        assert.deepEqual(all.restarts(0), { exit: 1 })
        const floor = all.supervisor.views()[0].stats!.feed.epochMax - 1
        assert.ok(floor >= begunMs && floor <= Date.now() + 1, `${floor}, since ${begunMs}`)
      }),
  )

  test(
    'the budget spent: 70, and the healthy ones are drained',
    SLOW,
    () =>
      crew(['exits', 'steady'], async (all) => {
        assert.equal(await all.exits(), 70)
        assert.deepEqual(all.restarts(0), { exit: 3 })
        assert.match(all.notices.join('\n'), /died 4 times in \d+ s, last exit code 7/)
        assert.equal(all.supervisor.views()[1].state, 'stopped')
      }),
  )

  test(
    'wrong configuration is not tried again',
    SLOW,
    () =>
      crew(['misconfigured', 'steady'], async (all) => {
        assert.equal(await all.exits(), 78)
        assert.deepEqual(all.restarts(0), {})
      }),
  )

  test(
    'a fatal error of the whole agent ends it with its own code',
    SLOW,
    () =>
      crew(['gone-with-agent', 'steady'], async (all) => {
        assert.equal(await all.exits(), 75)
        assert.match(all.notices.join('\n'), /queue full/)
      }),
  )

  test(
    'unavailable at the start is an answer',
    SLOW,
    () =>
      crew(['never-available'], async (all) => {
        assert.equal(await all.exits(), 69)
        assert.deepEqual(all.restarts(0), {})
      }),
  )

  test('unavailable later is an outage to sit out', SLOW, () =>
    // Its first report says that it has served.
    crew(['unavailable'], async (all) => {
      await until('more restarts than the budget has', 10_000, () =>
        (all.restarts(0)['exit'] ?? 0) > quick.budget)
    }))

  test(
    'a program that cannot be started: 71',
    SLOW,
    () =>
      crew(['steady'], async (all) => assert.equal(await all.exits(), 71), {
        file: '/nonexistent/program',
      }),
  )

  test('a worker of another build gets no plan', SLOW, () =>
    crew(['other-build'], async (all) => {
      assert.equal(await all.exits(), 70)
      assert.deepEqual(all.restarts(0), { build: 3 })
      assert.match(all.notices.join('\n'), /of another build/)
    }))

  test(
    'a stuck worker is killed and counted, the others go on',
    SLOW,
    () =>
      crew(['hangs', 'steady'], async (all) => {
        await until('the kill', 10_000, () => (all.restarts(0)['heartbeat'] ?? 0) >= 1)
        assert.deepEqual(all.restarts(1), {})
      }, { policy: { heartbeatTimeoutMs: 1000, budget: 100 } }),
  )
})

describe('the end', () => {
  test('all drained: 0', SLOW, () =>
    crew(['steady', 'steady'], async (all) => {
      await all.running(0, 1)
      const pids = [all.pid(0)!, all.pid(1)!]
      all.supervisor.stop(0, 5000)
      assert.equal(await all.exits(), 0)
      assert.deepEqual(pids.filter(isAlive), [])
    }))

  test('before the workers have even started: 0', SLOW, () =>
    crew(['steady'], async (all) => {
      all.supervisor.stop(0, 5000)
      assert.equal(await all.exits(), 0)
    }))

  for (const behaviour of ['incomplete', 'dies-draining']) {
    test(`${behaviour}: 124`, SLOW, () =>
      crew([behaviour, 'steady'], async (all) => {
        await all.running(0, 1)
        all.supervisor.stop(0, 5000)
        assert.equal(await all.exits(), 124)
      }))
  }

  test(
    'a worker that does not answer is killed at the deadline: 124',
    SLOW,
    () =>
      crew(['deaf', 'steady'], async (all) => {
        await all.running(0, 1)
        const pid = all.pid(0)!
        const begun = performance.now()
        all.supervisor.stop(0, 700)
        assert.equal(await all.exits(), 124)
        assert.ok(performance.now() - begun >= 690)
        assert.equal(isAlive(pid), false)
      }),
  )

  test(
    'during the pause before a restart: 0, and nothing starts any more',
    SLOW,
    () =>
      crew(['exits'], async (all) => {
        await until('the pause', 10_000, () => all.supervisor.views()[0].state === 'waiting')
        all.supervisor.stop(0, 5000)
        assert.equal(await all.exits(), 0)
        assert.deepEqual(all.restarts(0), { exit: 1 })
      }, { policy: { backoffMinMs: 60_000, backoffMaxMs: 60_000 } }),
  )

  test(
    'a worker without a plan is let go, the others stay',
    SLOW,
    () =>
      crew(['steady', 'steady'], async (all) => {
        await all.running(0, 1)
        all.supervisor.assign(settings, [planOf(0, 'BTC/USD')])
        await until('its end', 10_000, () => all.supervisor.views()[1].state === 'stopped')
        assert.equal(all.supervisor.views()[0].state, 'running')
        assert.deepEqual(all.restarts(1), {})
      }),
  )
})

/** Collects what is written; refuses more after each chunk until the next turn when `slow`. */
class Collector extends Writable {
  text = ''

  constructor(slow: boolean) {
    super({ highWaterMark: slow ? 1 : 1 << 20 })
  }

  override _write(chunk: Uint8Array, _encoding: string, done: () => void): void {
    this.text += Buffer.from(chunk).toString()
    setImmediate(done)
  }
}

describe('lines of workers', () => {
  for (const slow of [false, true]) {
    test(
      `are whole and complete, ${slow ? 'also with a slow reader' : 'never mixed'}`,
      SLOW,
      async () => {
        const lines = new Collector(slow)
        await crew(['writes', 'writes', 'writes'], async (all) => {
          await all.running(0, 1, 2)
          all.supervisor.stop(0, 10_000)
          assert.equal(await all.exits(), 0)
        }, { lines })
        const found = lines.text.split('\n')
        assert.equal(found.pop(), '')
        assert.equal(found.length, 600)
        const next = [0, 0, 0]
        for (const line of found) {
          const [id, number, tail] = line.split(':')
          assert.equal(Number(number), next[Number(id)]++)
          assert.equal(tail.length, 10_000)
        }
      },
    )
  }

  test('a line that a dying worker did not finish is left out', SLOW, async () => {
    const lines = new Collector(false)
    await crew(['half-line'], async (all) => {
      assert.equal(await all.exits(), 70)
    }, { lines, policy: { budget: 1 } })
    assert.equal(lines.text, 'whole 0\nwhole 0\n')
  })
})
