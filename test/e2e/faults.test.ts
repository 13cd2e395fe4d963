/**
 * The promise of the product under the faults it was made for: the compiled binary, a real Kafka, a
 * simulated Coinbase in a process of its own, an independent consumer. After each fault every book at the
 * consumer equals the truth, and at no time was a wrong book served as valid.
 */
import { after, before, describe, test } from 'node:test'
import assert from 'node:assert/strict'
import process from 'node:process'
import { startKafka, type TestKafka } from '../support/kafka.ts'
import { TopicConsumer, type Truth } from '../support/consumer.ts'
import {
  BINARY,
  childrenOf,
  freePort,
  get,
  inTemporaryFolder,
  post,
  type Program,
  ready,
  rssMb,
  start,
  writeMap,
} from '../support/program.ts'
import { until } from '../support/until.ts'

const SYMBOLS = ['BTC/USD', 'ETH/USD', 'SOL/USD', 'DOGE/USD', 'LTC/USD', 'XRP/USD']
const MAP = Object.fromEntries(SYMBOLS.map((symbol, index) => [symbol, index % 4]))

interface Scene {
  readonly agent: Program
  readonly http: string
  readonly consumer: TopicConsumer
  readonly control: string
  simulator: Program
  startSimulator(): Promise<void>
  workers(): number[]
}

async function truths(control: string): Promise<Map<string, Truth>> {
  const found = new Map<string, Truth>()
  for (const symbol of SYMBOLS) {
    const answer = await get(`${control}/control/truth?symbol=${encodeURIComponent(symbol)}`)
    assert.equal(answer.status, 200, answer.body)
    found.set(symbol, JSON.parse(answer.body) as Truth)
  }
  return found
}

/** Market at rest: every book at the consumer must become the truth. */
async function allEqual(scene: Scene, timeoutMs: number): Promise<void> {
  await post(`${scene.control}/control/pause`, {})
  try {
    let differences: string[] = []
    await until(
      () => `equal books: ${differences.join('; ')}\n${scene.agent.stderr().slice(-3000)}`,
      timeoutMs,
      async () => {
        differences = scene.consumer.differences(await truths(scene.control))
        return differences.length === 0
      },
    )
  } finally {
    await post(`${scene.control}/control/resume`, {})
  }
}

async function scene(
  kafka: TestKafka,
  name: string,
  body: (scene: Scene) => Promise<void>,
): Promise<void> {
  const port = await freePort()
  const http = `127.0.0.1:${await freePort()}`
  const control = `http://127.0.0.1:${port}`
  const topic = `e2e-${name}-${process.pid}-${Date.now()}`
  const simulate = async (): Promise<Program> => {
    const program = start([
      ...['simulate', 'coinbase', '--port', String(port), '--symbols', SYMBOLS.join()],
      ...['--rate', '200', '--levels', '300', '--seed', '7'],
    ])
    await until(
      () => `simulator\n${program.stderr()}`,
      20_000,
      async () => (await get(`${control}/control/stats`)).status === 200,
    )
    return program
  }
  await inTemporaryFolder(async (folder) => {
    const simulator = await simulate()
    const agent = start([
      ...['--exchange', 'coinbase', '--map', writeMap(folder, MAP), '--brokers', kafka.brokers],
      ...['--topic', topic, '--workers', '2', '--http', http, '--snapshot-interval', '2'],
      ...['--ws-url', `ws://127.0.0.1:${port}`, '--rest-url', control],
    ])
    const consumer = new TopicConsumer(kafka.brokers)
    const it: Scene = {
      agent,
      http,
      consumer,
      control,
      simulator,
      async startSimulator() {
        this.simulator = await simulate()
      },
      workers: () => childrenOf(agent.pid, 'obfeed-w'),
    }
    try {
      await ready(http, agent)
      await consumer.start(topic)
      await allEqual(it, 30_000)
      await body(it)
      assert.deepEqual(consumer.faults, [])
      for (const pid of [agent.pid, ...it.workers()]) {
        assert.ok(rssMb(pid) < 400, `memory of ${pid} was ${rssMb(pid)} MB, expected below 400`)
      }
      assert.equal(await agent.stop(), 0, agent.stderr())
    } finally {
      agent.child.kill('SIGKILL')
      it.simulator.child.kill('SIGKILL')
      await consumer.stop()
    }
  })
}

describe(`faults, end to end with ${BINARY.split('/').pop()}`, () => {
  let kafka: TestKafka
  before(async () => {
    kafka = await startKafka()
  })
  after(() => kafka?.stop())

  test('a dropped frame costs an epoch and never a wrong book', async () => {
    await scene(kafka, 'drop', async (it) => {
      const invalidBefore = SYMBOLS.map((symbol) => it.consumer.books.get(symbol)!.counts.invalid)
      await post(`${it.control}/control/fault`, { kind: 'drop', count: 1 })
      await until(
        'an invalid in the stream',
        10_000,
        () =>
          SYMBOLS.some((symbol, i) =>
            it.consumer.books.get(symbol)!.counts.invalid > invalidBefore[i]!
          ),
      )
      await allEqual(it, 30_000)
    })
  })

  test('kill -9 of each worker: restarted, the others go on', async () => {
    await scene(kafka, 'worker', async (it) => {
      for (const victim of it.workers()) {
        process.kill(victim, 'SIGKILL')
        await until(
          'a new worker',
          15_000,
          () => it.workers().length === 2 && !it.workers().includes(victim),
        )
        await ready(it.http, it.agent)
        await allEqual(it, 30_000)
      }
    })
  })

  test('kill -9 of the exchange for 10 s', async () => {
    await scene(kafka, 'exchange', async (it) => {
      await it.simulator.stop('SIGKILL')
      await until(
        'every book invalid at the consumer',
        10_000,
        () => SYMBOLS.every((symbol) => !it.consumer.books.get(symbol)!.valid),
      )
      const down = performance.now()
      await until('10 s of silence', 12_000, () => performance.now() - down > 10_000)
      assert.equal((await get(`http://${it.http}/readyz`)).status, 503)
      await it.startSimulator()
      await ready(it.http, it.agent, 60_000)
      await allEqual(it, 30_000)
    })
  })

  test('kill -9 of the broker for 30 s', async () => {
    // A broker of its own: the others are being used by other tests.
    const own = await startKafka({ own: true })
    try {
      await scene(own, 'broker', async (it) => {
        await own.kill9()
        const down = performance.now()
        let most = 0
        await until('30 s without a broker', 35_000, () => {
          most = Math.max(most, ...it.workers().map(rssMb))
          return performance.now() - down > 30_000
        })
        assert.ok(most < 400, `memory without a broker was ${most} MB, expected below 400`)
        await own.restart()
        await ready(it.http, it.agent, 60_000)
        await allEqual(it, 60_000)
      })
    } finally {
      await own.stop()
    }
  })
})
