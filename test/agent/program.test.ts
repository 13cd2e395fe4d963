/** The whole program as processes: what a worker's, a parent's and an operator's actions lead to. */
import assert from 'node:assert/strict'
import { existsSync, readFileSync } from 'node:fs'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { resolve } from 'node:path'
import process from 'node:process'
import { describe, test } from 'node:test'
import type { BookEvent } from '../../src/core/event.ts'
import { type Simulator, startSimulator } from '../../src/simulator/server.ts'
import {
  childrenOf,
  freePort,
  get,
  inTemporaryFolder,
  type Program,
  ready,
  rssMb,
  start,
  writeMap,
} from '../support/program.ts'
import { until } from '../support/until.ts'

const SYMBOLS = ['BTC/USD', 'ETH/USD', 'ETH/EUR']
const MARKET = { symbols: SYMBOLS, rate: 100, levels: 20, seed: 7 }
const MAIN = resolve(import.meta.dirname!, '../../src/main.ts')
const BINARY = process.env['OBFEED_TEST_BINARY']
/** The compiled binary when there is one to test, the source otherwise. */
const COMMAND = BINARY === undefined ? [process.execPath, MAIN] : [BINARY]
const POLICY = {
  heartbeatTimeoutMs: 2000,
  backoffMinMs: 50,
  backoffMaxMs: 200,
  marketsAgainMs: 300,
}

/** Starts `obfeed`. */
function obfeed(args: readonly string[]): Program {
  process.env['OBFEED_TEST_RESTART_POLICY'] = JSON.stringify(POLICY)
  try {
    return start([...COMMAND.slice(1), ...args], COMMAND[0])
  } finally {
    delete process.env['OBFEED_TEST_RESTART_POLICY']
  }
}

interface Scene {
  readonly program: Program
  readonly simulator: Simulator
  readonly http: string
  workers(): number[]
  events(): BookEvent[]
}

/** A running agent against a simulator, both gone afterwards. */
async function scene(
  flags: readonly string[],
  body: (scene: Scene) => Promise<void>,
  isReady = true,
  edit?: (answer: string) => string,
): Promise<void> {
  const simulator = await startSimulator(MARKET)
  const metadata = edit === undefined ? undefined : await editing(simulator.restUrl, edit)
  try {
    await inTemporaryFolder(async (folder) => {
      const map = writeMap(folder, { 'BTC/USD': 0, 'ETH/USD': 1, 'ETH/EUR': 2 })
      const http = `127.0.0.1:${await freePort()}`
      const program = obfeed([
        ...['--exchange', 'coinbase', '--map', map, '--sink', 'stdout', '--http', http],
        ...[
          '--ws-url',
          simulator.wsUrl,
          '--rest-url',
          metadata?.url ?? simulator.restUrl,
          ...flags,
        ],
      ])
      const seen = new Set<number>()
      try {
        if (isReady) await ready(http, program)
        await body({
          program,
          simulator,
          http,
          workers: () => {
            const found = childrenOf(program.pid, 'obfeed-w').sort((a, b) => a - b)
            for (const pid of found) seen.add(pid)
            return found
          },
          events: () => eventsOf(program),
        })
      } finally {
        await program.stop('SIGKILL')
        await until('no worker is left', 5000, () => ![...seen].some(isAlive))
      }
    })
  } finally {
    await metadata?.close()
    await simulator.close()
  }
}

/** A REST service that tells what another one says, with changes. */
async function editing(
  origin: string,
  edit: (answer: string) => string,
): Promise<{ readonly url: string; close(): Promise<void> }> {
  const server = createServer(async (request, response) => {
    const answer = await fetch(new URL(request.url ?? '/', origin))
    response.writeHead(answer.status, { 'content-type': 'application/json' })
    response.end(edit(await answer.text()))
  })
  await new Promise<void>((done) => server.listen(0, '127.0.0.1', done))
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    close: () =>
      new Promise((done) => {
        server.close(() => done())
        server.closeAllConnections()
      }),
  }
}

/** Every whole line; a line that is no event fails. */
function eventsOf(program: Program): BookEvent[] {
  const text = program.stdout()
  return text.slice(0, text.lastIndexOf('\n') + 1).split('\n').slice(0, -1)
    .map((line) => JSON.parse(line) as BookEvent)
}

function isAlive(pid: number): boolean {
  try {
    return !/^State:\s+Z/m.test(readFileSync(`/proc/${pid}/status`, 'utf8'))
  } catch {
    return false
  }
}

function symbolsOf(events: readonly BookEvent[], reason: string): string[] {
  return events.filter((event) => event.type === 'invalid' && event.reason === reason)
    .map((event) => event.symbol).sort()
}

function epochsOf(events: readonly BookEvent[], symbol: string): number[] {
  const epochs = events.filter((event) => event.symbol === symbol).map((event) => event.epoch)
  return epochs.filter((epoch, i) => epoch !== epochs[i - 1])
}

async function metric(http: string, pattern: RegExp): Promise<number> {
  const { body } = await get(`http://${http}/metrics`)
  return Number(new RegExp(`^${pattern.source} (\\S+)$`, 'm').exec(body)?.[1] ?? NaN)
}

/** Which symbols the worker of this process serves. */
async function symbolsOfWorker(http: string, pid: number): Promise<string[]> {
  const status = JSON.parse((await get(`http://${http}/status`)).body)
  const worker = status.workers.find((one: { pid: number }) => one.pid === pid)
  return worker.books.map((book: { symbol: string }) => book.symbol)
}

/** Processes on a busy machine take their time. */
const SLOW = { timeout: 60_000 }
const TWO = ['--workers', '2']

describe('workers', () => {
  test(
    'are named, pinned, small, and forward their lines unmixed',
    SLOW,
    () =>
      scene(TWO, async ({ workers, events, program }) => {
        const pids = workers()
        assert.equal(pids.length, 2)
        const names = pids.map((pid) => readFileSync(`/proc/${pid}/comm`, 'utf8').trim()).sort()
        assert.deepEqual(names, ['obfeed-w0', 'obfeed-w1'])
        if (existsSync('/usr/bin/taskset')) {
          for (const pid of pids) {
            const status = readFileSync(`/proc/${pid}/status`, 'utf8')
            assert.match(status, /^Cpus_allowed_list:\t\d+$/m)
          }
        }
        for (const pid of pids) assert.ok(rssMb(pid) < 100, `${rssMb(pid)} MB`)
        await until(
          'events of all symbols',
          5000,
          () =>
            SYMBOLS.every((symbol) => events().filter((one) => one.symbol === symbol).length > 10),
        )
        const log = program.stderr()
        assert.equal(log.match(/ agent started /g)?.length, 1)
        assert.equal(log.match(/ agent ready /g)?.length, 1)
      }),
  )

  test(
    'killed: that one comes back under a higher epoch, the others go on',
    SLOW,
    () =>
      scene(TWO, async ({ workers, events, http, program }) => {
        const [victim, other] = workers()
        const lost = await symbolsOfWorker(http, victim)
        process.kill(victim, 'SIGKILL')
        await until('a new worker', 10_000, () => workers().length === 2 && !isAlive(victim))
        await until(
          'its books again',
          10_000,
          () => lost.every((symbol) => epochsOf(events(), symbol).length === 3),
        )
        // What the dead one left is taken back before anything else is said.
        assert.deepEqual(symbolsOf(events(), 'disconnect'), [...lost].sort())
        await ready(http, program)
        assert.ok(isAlive(other))
        for (const symbol of SYMBOLS) {
          const epochs = epochsOf(events(), symbol)
          if (!lost.includes(symbol)) assert.equal(epochs.length, 1, symbol)
          else assert.ok(epochs[2] > epochs[1] && epochs[1] > epochs[0], symbol)
        }
        const restarts = /obfeed_worker_restarts_total\{worker="\d",reason="signal"\}/
        assert.equal(await metric(http, restarts), 1)
      }),
  )

  test(
    'stuck: killed without a heartbeat, and replaced',
    SLOW,
    () =>
      scene(TWO, async ({ workers, http, program }) => {
        const [stuck] = workers()
        process.kill(stuck, 'SIGSTOP')
        await until('its end', 10_000, () => !isAlive(stuck))
        await until('a new worker', 10_000, () => workers().length === 2)
        await ready(http, program)
        const restarts = /obfeed_worker_restarts_total\{worker="\d",reason="heartbeat"\}/
        assert.equal(await metric(http, restarts), 1)
      }),
  )

  test(
    'without their parent: gone within 3 s',
    SLOW,
    async () => {
      for (const count of ['1', '2']) {
        await scene(['--workers', count], async ({ workers, program }) => {
          const pids = workers()
          assert.equal(pids.length, Number(count))
          process.kill(program.pid, 'SIGKILL')
          await until('the end of the workers', 3000, () => !pids.some(isAlive))
        })
      }
    },
  )

  test('never import the market metadata, nor ccxt unless it is asked for', SLOW, () => {
    const bare = new Set<string>()
    const files = importsFrom(resolve(import.meta.dirname!, '../../src/agent/worker.ts'), bare)
    assert.ok([...files].some((file) => file.endsWith('/exchanges/coinbase.ts')))
    assert.ok([...files].some((file) => file.endsWith('/kafka/publisher.ts')))
    assert.deepEqual([...files].filter((file) => /markets|ccxt/.test(file)), [])
    assert.deepEqual([...bare].filter((name) => /ccxt|citty/.test(name)), [])
  })
})

/** Files reached by static and dynamic imports; names of packages go to `bare`. */
function importsFrom(entry: string, bare: Set<string>): Set<string> {
  const files = new Set<string>()
  const queue = [entry]
  for (let file = queue.pop(); file !== undefined; file = queue.pop()) {
    if (files.has(file)) continue
    files.add(file)
    const text = readFileSync(file, 'utf8')
    const pattern =
      /^(?:import|export)\s+(?!type\b)(?:[\w*\s{},]+\sfrom\s+)?'([^']+)'|import\('([^']+)/gm
    for (const match of text.matchAll(pattern)) {
      const name = match[1] ?? match[2]
      // The long tail is loaded when it is asked for, never on a native adapter's way.
      if (match[2] === './ccxt.ts') continue
      if (name.startsWith('.')) queue.push(resolve(file, '..', name))
      else bare.add(name)
    }
  }
  return files
}

describe('the end', () => {
  for (const signal of ['SIGTERM', 'SIGINT'] as const) {
    test(
      `${signal} to all processes: shutdown for every symbol, then 0`,
      SLOW,
      () =>
        scene(TWO, async ({ workers, events, program }) => {
          // As a terminal does it: to the whole group.
          for (const pid of [...workers(), program.pid]) process.kill(pid, signal)
          assert.equal(await program.exited, 0)
          assert.deepEqual(symbolsOf(events(), 'shutdown'), [...SYMBOLS].sort())
          for (const symbol of SYMBOLS) {
            const last = events().filter((event) => event.symbol === symbol).at(-1)
            assert.equal(last?.type, 'invalid')
          }
          assert.deepEqual(workers(), [])
          assert.match(program.stderr(), / agent stopped exitCode=0 /)
          assert.doesNotMatch(program.stderr(), /WARN|ERROR/)
        }),
    )
  }

  test('TERM before it is ready: 0', SLOW, () =>
    scene(TWO, async ({ program, workers }) => {
      await until('workers', 10_000, () => workers().length > 0)
      assert.equal(await program.stop('SIGTERM'), 0)
    }, false))

  for (const [signal, code] of [['SIGTERM', 143], ['SIGINT', 130]] as const) {
    test(
      `a second ${signal} ends at once with ${code}`,
      SLOW,
      () =>
        scene(TWO, async ({ workers, program }) => {
          const pids = workers()
          // This one cannot drain.
          process.kill(pids[0], 'SIGSTOP')
          process.kill(program.pid, signal)
          await until('draining', 5000, () => program.stderr().includes('draining'))
          const asked = performance.now()
          await until('time to ask again', 5000, () => performance.now() - asked > 300)
          const begun = performance.now()
          assert.equal(await program.stop(signal), code)
          assert.ok(performance.now() - begun < 1000)
          await until('workers are gone', 2000, () => !pids.some(isAlive))
        }),
    )
  }

  test(
    'a worker that cannot drain in time: 124',
    SLOW,
    () =>
      scene([...TWO, '--drain-timeout', '1'], async ({ workers, program }) => {
        process.kill(workers()[0], 'SIGSTOP')
        const begun = performance.now()
        assert.equal(await program.stop('SIGTERM'), 124)
        assert.ok(performance.now() - begun < 3000)
      }),
  )

  test('TERM while Kafka does not answer: 0, at once', SLOW, async () => {
    const simulator = await startSimulator({ symbols: SYMBOLS, rate: 1, levels: 5, seed: 7 })
    try {
      await inTemporaryFolder(async (folder) => {
        const program = obfeed([
          ...['--exchange', 'coinbase', '--map', writeMap(folder, { 'BTC/USD': 0 })],
          ...['--brokers', `127.0.0.1:${await freePort()}`, '--http', 'off'],
          ...['--ws-url', simulator.wsUrl, '--rest-url', simulator.restUrl],
        ])
        try {
          await until('a worker', 10_000, () => childrenOf(program.pid, 'obfeed-w').length === 1)
          const begun = performance.now()
          assert.equal(await program.stop('SIGTERM'), 0, program.stderr())
          assert.ok(performance.now() - begun < 3000)
        } finally {
          await program.stop('SIGKILL')
        }
      })
    } finally {
      await simulator.close()
    }
  })

  test('HUP is no end', SLOW, () =>
    scene(TWO, async ({ program, http }) => {
      process.kill(program.pid, 'SIGHUP')
      await until('the log', 5000, () => /WARN .*HUP.* not supported/.test(program.stderr()))
      assert.equal((await get(`http://${http}/readyz`)).status, 200)
    }))

  for (const workers of ['1', '2']) {
    test(
      `the reader of stdout has had enough, with ${workers} worker(s): 0`,
      SLOW,
      () =>
        scene(['--workers', workers], async ({ program }) => {
          program.child.stdout!.destroy()
          assert.equal(await program.exited, 0)
          assert.doesNotMatch(program.stderr(), /ERROR/)
        }),
    )
  }
})

describe('a disk that is full', () => {
  for (const workers of ['1', '2']) {
    test(`is no clean end, with ${workers} worker(s): 73`, SLOW, async () => {
      const simulator = await startSimulator(MARKET)
      try {
        await inTemporaryFolder(async (folder) => {
          const map = writeMap(folder, { 'BTC/USD': 0, 'ETH/USD': 1 })
          const program = start([
            ...['-c', 'exec "$@" >/dev/full', 'sh', ...COMMAND],
            ...['--exchange', 'coinbase', '--map', map, '--sink', 'stdout', '--http', 'off'],
            ...['--ws-url', simulator.wsUrl, '--rest-url', simulator.restUrl],
            ...['--workers', workers],
          ], '/bin/sh')
          try {
            assert.equal(await program.exited, 73, program.stderr())
            assert.match(program.stderr(), /stdout cannot be written \(.*ENOSPC/)
          } finally {
            await program.stop('SIGKILL')
          }
        })
      } finally {
        await simulator.close()
      }
    })
  }
})

describe('what is served', () => {
  test(
    'readiness falls with the exchange and comes back with it',
    SLOW,
    () =>
      scene(TWO, async ({ http, simulator, program }) => {
        const { port } = simulator
        await simulator.close()
        let body = ''
        await until('not ready', 10_000, async () => {
          const answer = await get(`http://${http}/readyz`)
          body = answer.body
          return answer.status === 503
        })
        const { ready: isReady, reasons } = JSON.parse(body)
        assert.equal(isReady, false)
        assert.match(reasons.join(), /^books: \d of 3 live; not: /)
        assert.equal((await get(`http://${http}/livez`)).status, 200)
        const back = await startSimulator({ ...MARKET, port })
        try {
          await ready(http, program)
          const { body: scrape } = await get(`http://${http}/metrics`)
          assert.match(scrape, /^obfeed_book_resyncs_total\{.*reason="disconnect"\} 1$/m)
          assert.match(scrape, /^obfeed_ws_reconnects_total\{.*reason="\w+"\} \d+$/m)
        } finally {
          await back.close()
        }
      }),
  )

  test('a busy port is a warning', SLOW, () =>
    scene(TWO, async ({ program, http, simulator }) => {
      await inTemporaryFolder(async (folder) => {
        const map = writeMap(folder, { 'BTC/USD': 0 })
        const second = obfeed([
          ...['--exchange', 'coinbase', '--map', map, '--sink', 'stdout', '--http', http],
          ...['--ws-url', simulator.wsUrl, '--rest-url', simulator.restUrl],
        ])
        try {
          await until('an event', 20_000, () => eventsOf(second).length > 0)
          assert.match(second.stderr(), /WARN .*no status server/)
          assert.equal(await second.stop('SIGTERM'), 0)
        } finally {
          await second.stop('SIGKILL')
        }
      })
      assert.equal(program.child.exitCode, null)
    }))
})

describe('a start that fails leaves no process and tells why', () => {
  async function fails(
    map: Readonly<Record<string, number>>,
    flags: readonly string[],
    exitCode: number,
    message: RegExp,
  ): Promise<void> {
    const simulator = await startSimulator({ symbols: SYMBOLS, rate: 1, levels: 5, seed: 7 })
    try {
      await inTemporaryFolder(async (folder) => {
        const program = obfeed([
          ...['--exchange', 'coinbase', '--map', writeMap(folder, map), '--sink', 'stdout'],
          ...['--http', 'off', '--ws-url', simulator.wsUrl],
          ...(flags.includes('--rest-url') ? [] : ['--rest-url', simulator.restUrl]),
          ...flags,
        ])
        try {
          assert.equal(await program.exited, exitCode, program.stderr())
          assert.match(program.stderr(), message)
          assert.deepEqual(childrenOf(program.pid, ''), [])
          assert.equal(program.stdout(), '')
        } finally {
          await program.stop('SIGKILL')
        }
      })
    } finally {
      await simulator.close()
    }
  }

  test(
    'a symbol that does not exist: 78',
    SLOW,
    () => fails({ 'BTC/USD': 0, 'ETH/USB': 1 }, [], 78, /"ETH\/USB" is no market of coinbase/),
  )

  test('no market metadata: 69', SLOW, async () => {
    const nobody = `http://127.0.0.1:${await freePort()}`
    await fails({ 'BTC/USD': 0 }, ['--rest-url', nobody], 69, /market metadata of coinbase/)
  })

  test(
    'CPUs that are not there: 78',
    SLOW,
    () => fails({ 'BTC/USD': 0 }, ['--cpus', '8000'], 78, /none of the CPUs 8000 .*allowed are/),
  )
})

describe('a symbol that is not traded at present', () => {
  interface Product {
    product_id: string
    trading_disabled: boolean
  }

  /** What the exchange lists, without or with this product changed. */
  function listing(change: (product: Product) => Product | undefined) {
    return (answer: string): string => {
      const body = JSON.parse(answer) as { products?: Product[] }
      if (body.products === undefined) return answer
      const products = body.products.flatMap((one) =>
        one.product_id === 'ETH-EUR' ? change(one) ?? [] : one
      )
      return JSON.stringify({ ...body, products, num_products: products.length })
    }
  }

  test('the others start; it is said, asked for again, and live once it is traded', async () => {
    let isHalted = true
    const edit = listing((one) => ({ ...one, trading_disabled: isHalted }))
    await scene(
      [],
      async ({ program, http, events }) => {
        const { body } = await get(`http://${http}/readyz`)
        assert.deepEqual(JSON.parse(body), {
          ready: true,
          reasons: [],
          notTraded: ['ETH/EUR (not traded at present)'],
        })
        assert.match(program.stderr(), /ETH\/EUR: not traded at present, the others start/)
        assert.deepEqual(symbolsOf(events(), 'delisted'), ['ETH/EUR'])
        isHalted = false
        const isLive = () =>
          events().some((one) => one.symbol === 'ETH/EUR' && one.type === 'delta')
        await until('it is live', 20_000, isLive)
        await ready(http, program)
        const after = JSON.parse((await get(`http://${http}/readyz`)).body)
        assert.deepEqual(after, { ready: true, reasons: [] })
        assert.match(program.stderr(), /traded again/)
        const [first, second] = epochsOf(events(), 'ETH/EUR')
        assert.ok(second > first)
      },
      true,
      edit,
    )
  })

  test('--strict-map refuses it, validate does, plan shows it', async () => {
    const edit = listing((one) => ({ ...one, trading_disabled: true }))
    await scene(
      ['--strict-map'],
      async ({ program }) => {
        assert.equal(await program.exited, 78)
        assert.match(program.stderr(), /"ETH\/EUR" is not traded on coinbase at present/)
      },
      false,
      edit,
    )
  })

  test('one that the map knew and the exchange lists no more; a name nobody knew ends the start', async () => {
    let isListed = true
    const edit = listing((one) => isListed ? one : undefined)
    const simulator = await startSimulator(MARKET)
    const metadata = await editing(simulator.restUrl, edit)
    try {
      await inTemporaryFolder(async (folder) => {
        const map = writeMap(folder, { 'BTC/USD': 0, 'ETH/EUR': 2 })
        const common = ['--exchange', 'coinbase', '--map', map, '--sink', 'stdout', '--http', 'off']
        const addresses = ['--ws-url', simulator.wsUrl, '--rest-url', metadata.url]
        const run = (...words: string[]) => obfeed([...words, ...common, ...addresses])
        isListed = false
        const never = run('run')
        assert.equal(await never.exited, 78, 'never seen')
        assert.match(never.stderr(), /"ETH\/EUR" is no market of coinbase/)
        isListed = true
        const before = run('run')
        await until('it is live', 20_000, () => eventsOf(before).length > 10)
        assert.equal(await before.stop(), 0)
        isListed = false
        const plan = run('plan')
        assert.equal(await plan.exited, 0)
        assert.match(plan.stdout(), /ETH\/EUR -> 2: no market any more, asked for again/)
        const validate = run('validate')
        assert.equal(await validate.exited, 78)
        const after = run('run')
        await until('the other is live', 20_000, () => eventsOf(after).length > 10)
        assert.deepEqual(symbolsOf(eventsOf(after), 'delisted'), ['ETH/EUR'])
        assert.equal(await after.stop(), 0)
      })
    } finally {
      await metadata.close()
      await simulator.close()
    }
  })
})
