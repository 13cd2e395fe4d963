/** A Kafka that is away, or that holds back: what the compiled binary says of it. */
import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { resolve } from 'node:path'
import process from 'node:process'
import { after, describe, test } from 'node:test'
import { promisify } from 'node:util'
import { startKafka } from '../support/kafka.ts'
import {
  BINARY,
  freePort,
  get,
  inTemporaryFolder,
  type Program,
  ready,
  start,
  writeMap,
} from '../support/program.ts'
import { until } from '../support/until.ts'

const kafka = await startKafka({ own: true })
const script = resolve(import.meta.dirname!, '../../scripts/kafka')
after(() => kafka.stop())

interface Scene {
  readonly agent: Program
  readonly http: string
}

async function scene(name: string, flags: string[], body: (it: Scene) => Promise<void>) {
  const port = await freePort()
  const http = `127.0.0.1:${await freePort()}`
  const control = `http://127.0.0.1:${port}`
  await inTemporaryFolder(async (folder) => {
    const simulator = start([
      ...['simulate', 'coinbase', '--port', String(port), '--symbols', 'BTC/USD,ETH/USD'],
      ...['--rate', '200', '--levels', '100', '--seed', '7'],
    ])
    await until(
      () => `simulator\n${simulator.stderr()}`,
      20_000,
      async () => (await get(`${control}/control/stats`)).status === 200,
    )
    const agent = start([
      ...['--exchange', 'coinbase', '--map', writeMap(folder, { 'BTC/USD': 0, 'ETH/USD': 1 })],
      ...['--brokers', kafka.brokers, '--topic', `${name}-${process.pid}`, '--workers', '1'],
      ...['--http', http, '--ws-url', `ws://127.0.0.1:${port}`, '--rest-url', control, ...flags],
    ])
    try {
      await body({ agent, http })
      assert.doesNotMatch(agent.stderr(), /kafkajs/, 'the words of a library')
    } finally {
      agent.child.kill('SIGKILL')
      simulator.child.kill('SIGKILL')
    }
  })
}

describe(`Kafka away or busy with ${BINARY.split('/').pop()}`, () => {
  test(
    'an outage: said at once, every 10 s, and when it is over',
    { timeout: 120_000 },
    async () => {
      await scene('outage', [], async ({ agent, http }) => {
        await ready(http, agent)
        await kafka.kill9()
        const said = () =>
          agent.stderr().match(/waiting for Kafka at .*, \d+ s, last error .*/g) ?? []
        await until(() => `the first word\n${agent.stderr()}`, 5_000, () => said().length === 1)
        assert.match(
          said()[0] ?? '',
          new RegExp(`at ${kafka.brokers}, [0-3] s, last error ${kafka.brokers}: `),
        )
        await until(() => `the second\n${agent.stderr()}`, 13_000, () => said().length === 2)
        await kafka.restart()
        await until(
          () => `its end\n${agent.stderr()}`,
          30_000,
          () => /Kafka is back after \d+ s/.test(agent.stderr()),
        )
        await ready(http, agent)
      })
    },
  )

  test('a broker that accepts and never answers at the start is said', async () => {
    process.kill(kafka.pid, 'SIGSTOP')
    try {
      await scene('silent', [], async ({ agent }) => {
        await until(
          () => `a word\n${agent.stderr()}`,
          5_000,
          () => /waiting for Kafka at 127\.0\.0\.1:\d+, \d s, last error/.test(agent.stderr()),
        )
        process.kill(kafka.pid, 'SIGCONT')
        await until(
          () => `its end\n${agent.stderr()}`,
          30_000,
          () => /Kafka is back after/.test(agent.stderr()),
        )
      })
    } finally {
      process.kill(kafka.pid, 'SIGCONT')
    }
  })

  test(
    'a quota: said, counted, and a reason when events are late',
    { timeout: 120_000 },
    async () => {
      const alter = ['--alter', '--entity-type', 'clients', '--entity-default']
      const configure = (...change: string[]) =>
        promisify(execFile)(script, [
          ...['tool', 'kafka.admin.ConfigCommand', '--bootstrap-server', kafka.brokers],
          ...[...alter, ...change],
        ])
      await configure('--add-config', 'producer_byte_rate=4096')
      try {
        await scene('quota', ['--queue-age', '60'], async ({ agent, http }) => {
          await until(
            () => `a word\n${agent.stderr()}`,
            40_000,
            () => /throttled by the broker \d+ ms/.test(agent.stderr()),
          )
          await until(
            () => `a reason\n${agent.stderr()}`,
            40_000,
            async () =>
              /events are \d+ s late, throttled by the broker \d+ ms/
                .test((await get(`http://${http}/readyz`)).body),
          )
          const { body } = await get(`http://${http}/metrics`)
          assert.match(body, /^obfeed_kafka_throttle_seconds_total\{.*\} [1-9]/m)
        })
      } finally {
        await configure('--delete-config', 'producer_byte_rate')
      }
    },
  )
})
