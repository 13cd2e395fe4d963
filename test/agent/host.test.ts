/** What a host does to the agent: signals, inherited processes, few descriptors, forbidden /proc. */
import assert from 'node:assert/strict'
import { execFileSync, spawn, spawnSync } from 'node:child_process'
import { chmodSync, copyFileSync, readFileSync } from 'node:fs'
import { type AddressInfo, connect, createServer, type Socket } from 'node:net'
import { constants } from 'node:os'
import { join, resolve } from 'node:path'
import process from 'node:process'
import { describe, test } from 'node:test'
import { zombiesOf } from '../../src/agent/orphans.ts'
import { type Simulator, startSimulator } from '../../src/simulator/server.ts'
import {
  childrenOf,
  freePort,
  inTemporaryFolder,
  type Program,
  ready,
  start,
  writeMap,
} from '../support/program.ts'
import { until } from '../support/until.ts'

const MAIN = resolve(import.meta.dirname!, '../../src/main.ts')
const BINARY = process.env['OBFEED_TEST_BINARY']
const COMMAND = BINARY === undefined ? [process.execPath, MAIN] : [BINARY]
const isRoot = process.getuid?.() === 0
const PATIENT = { timeout: 120_000 }

interface Scene {
  readonly program: Program
  readonly http: string
  readonly simulator: Simulator
}

/** A ready agent, begun through `wrapper` (`sh -c ... "$@"`), gone afterwards. */
async function scene(
  body: (scene: Scene) => Promise<void>,
  wrapper: readonly string[] = [],
  command: readonly string[] = COMMAND,
): Promise<void> {
  const simulator = await startSimulator({ symbols: ['BTC/USD'], rate: 50, levels: 10, seed: 7 })
  try {
    await inTemporaryFolder(async (folder) => {
      chmodSync(folder, 0o755)
      const map = writeMap(folder, { 'BTC/USD': 0 })
      const http = `127.0.0.1:${await freePort()}`
      const [file, ...args] = [
        ...[...wrapper, ...command, '--exchange', 'coinbase', '--map', map, '--sink', 'stdout'],
        ...['--http', http, '--ws-url', simulator.wsUrl, '--rest-url', simulator.restUrl],
      ]
      const program = start(args, file)
      try {
        await ready(http, program)
        await body({ program, http, simulator })
      } finally {
        await program.stop('SIGKILL')
      }
    })
  } finally {
    await simulator.close()
  }
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0)
    return !/^State:\s+Z/m.test(readFileSync(`/proc/${pid}/status`, 'utf8'))
  } catch {
    return false
  }
}

/** Sends a signal by number: not all have a name here. */
function signal(pid: number, number: number): void {
  execFileSync('/bin/kill', [`-${number}`, `${pid}`])
}

const { signals } = constants
/** All that can be caught, but for those of a fault and those that stop a process. */
const HARMLESS: readonly number[] = [
  ...[signals.SIGHUP, signals.SIGUSR1, signals.SIGUSR2, signals.SIGPIPE, signals.SIGALRM],
  ...[signals.SIGCHLD, signals.SIGCONT, signals.SIGURG, signals.SIGXFSZ, signals.SIGVTALRM],
  ...[signals.SIGPROF, signals.SIGWINCH, signals.SIGIO, signals.SIGTRAP, 16, 30, 34, 50, 64],
]
const ENDING = ['SIGQUIT', 'SIGABRT', 'SIGXCPU', 'SIGTERM', 'SIGINT'] as const

describe('signals', () => {
  test(
    'those that mean nothing end neither agent nor worker',
    PATIENT,
    () =>
      scene(async ({ program, http }) => {
        const [worker] = childrenOf(program.pid, 'obfeed-w')
        for (const number of HARMLESS) {
          signal(program.pid, number)
          signal(worker, number)
        }
        for (const name of ENDING) signal(worker, signals[name])
        await until('USR1 is told of', 5000, () => /USR1: means nothing/.test(program.stderr()))
        // A signal that was to end it would have done so before this is answered.
        await ready(http, program)
        await new Promise((done) => setTimeout(done, 300))
        assert.ok(isAlive(program.pid), program.stderr())
        assert.deepEqual(childrenOf(program.pid, 'obfeed-w'), [worker], program.stderr())
        assert.equal(await program.stop(), 0)
        assert.equal((program.stderr().match(/means nothing/g) ?? []).length, 8)
      }),
  )

  for (const name of ENDING) {
    test(`${name} drains the agent`, PATIENT, () =>
      scene(async ({ program }) => {
        assert.equal(await program.stop(name), 0, program.stderr())
        assert.match(program.stderr(), /draining signal=/)
        const last = program.stdout().trimEnd().split('\n').at(-1)!
        assert.equal(JSON.parse(last).reason, 'shutdown')
      }))
  }
})

test('as process 1 it takes the exits of whom it inherits', {
  ...PATIENT,
  skip: !isRoot || spawnSync('unshare', ['--pid', '--fork', 'true']).status !== 0
    ? 'a process namespace needs root'
    : false,
}, () =>
  scene(
    async ({ program, http }) => {
      const [agent] = childrenOf(program.pid, 'obfeed').concat(childrenOf(program.pid, 'bun'))
      assert.ok(agent !== undefined, 'it is the child of unshare')
      assert.match(readFileSync(`/proc/${agent}/status`, 'utf8'), /^NSpid:\s+\d+\s+1$/m)
      // Their parent ends before they do.
      const inside = (script: string) =>
        spawnSync('nsenter', ['-t', `${agent}`, '-p', '-m', 'sh', '-c', script])
      assert.equal(inside('for i in 1 2 3 4 5; do sleep 0.3 & done; exit 0').status, 0)
      await until('it has inherited five', 5000, () => childrenOf(agent, 'sleep').length === 5)
      await until('they have ended', 5000, () => zombiesOf(agent).length === 5)
      await until('nothing is left of them', 10_000, () => zombiesOf(agent).length === 0)
      // Its own children are its own matter: a worker that died is replaced.
      const [worker] = childrenOf(agent, 'obfeed-w')
      process.kill(worker, 'SIGKILL')
      await until('another worker', 20_000, () => {
        const [next] = childrenOf(agent, 'obfeed-w')
        return next !== undefined && next !== worker
      })
      await ready(http, program)
      assert.equal(zombiesOf(agent).length, 0)
      process.kill(agent, 'SIGTERM')
      assert.equal(await program.exited, 0, program.stderr())
    },
    ['unshare', '--pid', '--fork', '--mount-proc', '--kill-child'],
  ))

test('200 slow clients do not keep a dead worker from coming back', PATIENT, () =>
  scene(
    async ({ program, http }) => {
      const port = Number(http.split(':').at(-1))
      const sockets: Socket[] = []
      try {
        for (let i = 0; i < 200; i++) {
          const socket = connect(port, '127.0.0.1')
          socket.on('error', () => {})
          socket.on('connect', () => socket.write('GET /status HTTP/1.1\r\nHost: x\r\n'))
          sockets.push(socket)
        }
        await until('all have been there', 5000, () => sockets.every((one) => !one.connecting))
        const [worker] = childrenOf(program.pid, 'obfeed-w')
        process.kill(worker, 'SIGKILL')
        await until(
          () => `another worker\n${program.stderr()}`,
          20_000,
          () => childrenOf(program.pid, 'obfeed-w').some((pid) => pid !== worker),
        )
        await ready(http, program)
      } finally {
        for (const socket of sockets) socket.destroy()
      }
      assert.equal(await program.stop(), 0)
    },
    ['sh', '-c', 'ulimit -n 128; exec "$@"', 'sh'],
  ))

describe('a port that is taken', () => {
  const taken = async (flags: readonly string[], body: (program: Program) => Promise<void>) => {
    const server = createServer()
    await new Promise<void>((done) => server.listen(0, '127.0.0.1', done))
    const { port } = server.address() as AddressInfo
    const simulator = await startSimulator({ symbols: ['BTC/USD'], rate: 50, levels: 10, seed: 7 })
    try {
      await inTemporaryFolder(async (folder) => {
        const map = writeMap(folder, { 'BTC/USD': 0 })
        const program = start([
          ...[...COMMAND.slice(1), '--exchange', 'coinbase', '--map', map, '--sink', 'stdout'],
          ...['--http', `127.0.0.1:${port}`, '--ws-url', simulator.wsUrl],
          ...['--rest-url', simulator.restUrl, ...flags],
        ], COMMAND[0])
        try {
          await body(program)
        } finally {
          await program.stop('SIGKILL')
        }
      })
    } finally {
      server.close()
      await simulator.close()
    }
  }
  const holder = new RegExp(`the port is held by [^;]*pid ${process.pid}\\b`)

  test(
    'is told of with its holder, and the feed runs',
    PATIENT,
    () =>
      taken([], async (program) => {
        await until('events', 20_000, () => program.stdout().includes('"type":"snapshot"'))
        await until('the warning', 5000, () => holder.test(program.stderr()))
        assert.match(program.stderr(), /WARN .*no status server/)
        assert.equal(await program.stop(), 0)
      }),
  )

  test(
    'ends it with 75 where the server is required',
    PATIENT,
    () =>
      taken(['--http-required'], async (program) => {
        assert.equal(await program.exited, 75, program.stderr())
        assert.match(program.stderr(), holder)
        assert.match(program.stderr(), /^obfeed: no status server/m)
      }),
  )
})

describe('a program whose /proc entry belongs to root', () => {
  const canSetcap = isRoot && BINARY !== undefined &&
    spawnSync('setcap', ['-h']).error === undefined &&
    spawnSync('setpriv', ['--version']).error === undefined
  const skip = canSetcap ? false : 'needs root, setcap, setpriv and the binary'
  const cases: Readonly<Record<string, (file: string) => void>> = {
    'with a capability': (file) => void execFileSync('setcap', ['cap_sys_nice+ep', file]),
    'that may be run and not read': (file) => chmodSync(file, 0o711),
  }
  for (const [name, prepare] of Object.entries(cases)) {
    test(
      `${name}: its workers start`,
      { ...PATIENT, skip },
      () =>
        inTemporaryFolder(async (folder) => {
          chmodSync(folder, 0o755)
          const file = join(folder, 'obfeed')
          copyFileSync(BINARY!, file)
          chmodSync(file, 0o755)
          prepare(file)
          await scene(
            async ({ program }) => assert.equal(await program.stop(), 0, program.stderr()),
            ['setpriv', '--reuid', '65534', '--regid', '65534', '--clear-groups'],
            [file],
          )
        }),
    )
  }
})

test('whoever waits for an exit is told of it: nothing is taken from the runtime', async () => {
  const child = spawn('true')
  assert.equal(await new Promise((done) => child.once('exit', done)), 0)
  assert.deepEqual(zombiesOf(process.pid), [])
})
