/**
 * Two agents on the same symbols, by mistake: consumers keep a true book whichever of the two ends,
 * and both say who the other one is. The compiled binary, a real Kafka, a consumer of its own.
 */
import assert from 'node:assert/strict'
import { hostname } from 'node:os'
import process from 'node:process'
import { after, before, describe, test } from 'node:test'
import { TopicConsumer, type Truth } from '../support/consumer.ts'
import { startKafka, type TestKafka } from '../support/kafka.ts'
import {
  BINARY,
  childrenOf,
  freePort,
  get,
  inTemporaryFolder,
  post,
  type Program,
  ready,
  start,
  writeMap,
} from '../support/program.ts'
import { until } from '../support/until.ts'

const SYMBOLS = ['BTC/USD', 'ETH/USD', 'SOL/USD', 'DOGE/USD']
const MAP = Object.fromEntries(SYMBOLS.map((symbol, index) => [symbol, index % 3]))
/** What consumers wait for a silent agent (rule 6). */
const PATIENCE_MS = 15_000

interface Agent {
  readonly program: Program
  readonly http: string
}

interface Scene {
  readonly consumer: TopicConsumer
  readonly topic: string
  readonly map: string
  agent(...flags: string[]): Promise<Agent>
  /** Until every book at the consumer is the exchange's, as it is now. */
  allTrue(timeoutMs: number): Promise<void>
}

/** All its processes at once, without a word. */
function killWhole({ program: { pid, child } }: Pick<Agent, 'program'>): void {
  if (child.exitCode !== null || child.signalCode !== null) return
  for (const one of [pid, ...childrenOf(pid, 'obfeed-w')]) process.kill(one, 'SIGKILL')
}

async function readiness(agent: Agent): Promise<string> {
  return (await get(`http://${agent.http}/readyz`)).body
}

describe(`two publishers with ${BINARY.split('/').pop()}`, () => {
  let kafka: TestKafka
  before(async () => {
    kafka = await startKafka()
  })
  after(() => kafka?.stop())

  async function scene(name: string, body: (it: Scene) => Promise<void>): Promise<void> {
    const port = await freePort()
    const control = `http://127.0.0.1:${port}`
    const topic = `e2e-rivals-${name}-${process.pid}-${Date.now()}`
    await inTemporaryFolder(async (folder) => {
      const map = writeMap(folder, MAP)
      const agents: Agent[] = []
      const simulator = start([
        ...['simulate', 'coinbase', '--port', String(port), '--symbols', SYMBOLS.join()],
        ...['--rate', '100', '--levels', '100', '--seed', '7'],
      ])
      const consumer = new TopicConsumer(kafka.brokers)
      const it: Scene = {
        consumer,
        topic,
        map,
        async agent(...flags) {
          const http = `127.0.0.1:${await freePort()}`
          const program = start([
            ...['--exchange', 'coinbase', '--map', map, '--brokers', kafka.brokers],
            ...['--topic', topic, '--workers', '2', '--http', http, '--snapshot-interval', '2'],
            ...['--ws-url', `ws://127.0.0.1:${port}`, '--rest-url', control, ...flags],
          ])
          agents.push({ program, http })
          return { program, http }
        },
        async allTrue(timeoutMs) {
          let differences: string[] = []
          const deadline = performance.now() + timeoutMs
          do {
            await post(`${control}/control/pause`, {})
            try {
              const truths = new Map<string, Truth>()
              for (const symbol of SYMBOLS) {
                const path = `/control/truth?symbol=${encodeURIComponent(symbol)}`
                truths.set(symbol, JSON.parse((await get(`${control}${path}`)).body) as Truth)
              }
              // At rest for a moment, so that what is on its way may arrive.
              const look = performance.now()
              do {
                differences = consumer.differences(truths)
                if (differences.length === 0) return
                await new Promise((resolve) => setTimeout(resolve, 20))
              } while (performance.now() - look < 1_000)
            } finally {
              await post(`${control}/control/resume`, {})
            }
          } while (performance.now() < deadline)
          const logs = agents.map(({ program }) => program.stderr().slice(-3_000))
          assert.fail(`not within ${timeoutMs} ms: ${differences.join('; ')}\n${logs.join('\n\n')}`)
        },
      }
      try {
        await until(
          () => `simulator\n${simulator.stderr()}`,
          20_000,
          async () => (await get(`${control}/control/stats`)).status === 200,
        )
        await body(it)
        assert.deepEqual(consumer.faults, [])
      } finally {
        for (const agent of agents) killWhole(agent)
        simulator.child.kill('SIGKILL')
        await consumer.stop()
      }
    })
  }

  test('each says who the other is; either may be killed', { timeout: 240_000 }, async () => {
    await scene('kill', async (it) => {
      const first = await it.agent()
      await ready(first.http, first.program)
      await it.consumer.start(it.topic)
      await it.allTrue(30_000)
      const named = ({ program }: Agent) => `${hostname()}/${program.pid}/`

      const second = await it.agent()
      for (const [one, other] of [[first, second], [second, first]]) {
        await until(
          () => `named in /readyz\n${one.program.stderr()}`,
          30_000,
          async () => (await readiness(one)).includes(`producers: ${named(other)}`),
        )
        await until(
          'named in the log',
          5_000,
          () => one.program.stderr().includes(`publish the same books: ${named(other)}`),
        )
      }
      await it.allTrue(PATIENCE_MS)
      const metrics = (await get(`http://${first.http}/metrics`)).body
      assert.match(metrics, /^obfeed_kafka_rivals\{.*\} 1$/m)

      const tap = start([
        ...['tap', '--exchange', 'coinbase', '--map', it.map, '--brokers', kafka.brokers],
        ...['--topic', it.topic, '--verify', '--seconds', '4'],
      ])
      await tap.exited
      assert.match(tap.stdout(), /, 2 producers/)

      killWhole(second)
      await it.allTrue(PATIENCE_MS)
      await ready(first.http, first.program)

      const third = await it.agent()
      await until(
        () => `the third is heard of\n${first.program.stderr()}`,
        30_000,
        async () => (await readiness(first)).includes(named(third)),
      )
      await it.allTrue(PATIENCE_MS)
      killWhole(first)
      await it.allTrue(PATIENCE_MS)
      await ready(third.http, third.program)
      assert.equal(await third.program.stop(), 0, third.program.stderr())
    })
  })

  test('--on-conflict exit: the second one ends with 78, the first goes on', {
    timeout: 120_000,
  }, async () => {
    await scene('exit', async (it) => {
      const first = await it.agent('--on-conflict', 'exit')
      await ready(first.http, first.program)
      await it.consumer.start(it.topic)
      await it.allTrue(30_000)
      const second = await it.agent('--on-conflict', 'exit')
      assert.equal(await second.program.exited, 78, second.program.stderr())
      assert.ok(second.program.stderr().includes(`${hostname()}/${first.program.pid}/`))
      await it.allTrue(5_000)
      await ready(first.http, first.program)

      // One that takes over makes it end.
      await it.agent()
      assert.equal(await first.program.exited, 78, first.program.stderr())
      await it.allTrue(PATIENCE_MS)
    })
  })

  test('one that was stopped, and one that was killed, are no rivals of their successor', {
    timeout: 120_000,
  }, async () => {
    await scene('successor', async (it) => {
      await it.consumer.start(it.topic).catch(() => {})
      const first = await it.agent()
      await ready(first.http, first.program)
      assert.equal(await first.program.stop(), 0)
      const second = await it.agent('--on-conflict', 'exit')
      await ready(second.http, second.program)
      killWhole(second)
      await second.program.exited
      const third = await it.agent('--on-conflict', 'exit')
      await ready(third.http, third.program)
      assert.doesNotMatch(second.program.stderr() + third.program.stderr(), /agent publishe/)
      assert.equal(await third.program.stop(), 0, third.program.stderr())
    })
  })
})
