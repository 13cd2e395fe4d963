/** The same source under Deno and the compiled binary: the same frames give the same events on stdout. */
import { describe, test } from 'node:test'
import assert from 'node:assert/strict'
import { resolve } from 'node:path'
import { type WebSocket, WebSocketServer } from 'ws'
import { startSimulator } from '../../src/simulator/server.ts'
import { inTemporaryFolder, start, writeMap } from '../support/program.ts'
import { until } from '../support/until.ts'

const ROOT = resolve(import.meta.dirname!, '../..')
const UPDATES = 40

/** The frames every client gets after its level2 subscription: made by hand, always the same. */
function frames(): string[] {
  const frame = (sequence: number, event: unknown): string =>
    JSON.stringify({
      channel: 'l2_data',
      timestamp: '2026-08-24T22:34:13.793075885Z',
      sequence_num: sequence,
      events: [event],
    })
  const level = (side: string, price: string, size: string) => ({
    side,
    event_time: '2026-08-24T22:34:13.790000Z',
    price_level: price,
    new_quantity: size,
  })
  const out = [frame(0, {
    type: 'snapshot',
    product_id: 'BTC-USD',
    updates: [
      level('bid', '78856.05', '0.0476177'),
      level('bid', '78856.00', '1.50000000'),
      level('offer', '78856.06', '0.12345678901234567'),
      level('offer', '78857', '2'),
    ],
  })]
  for (let i = 1; i <= UPDATES; i++) {
    out.push(frame(i, {
      type: 'update',
      product_id: 'BTC-USD',
      updates: [
        level(i % 2 ? 'bid' : 'offer', i % 2 ? `7885${i % 5}.0${i % 10}` : `78857.${i}`, `0.${i}1`),
      ],
    }))
  }
  return out
}

/** Lines without what differs by clock: epoch and our own two times. */
function comparable(stdout: string): string[] {
  return stdout.split('\n').slice(0, -1)
    .filter((line) => /"type":"(delta|snapshot)"/.test(line))
    .map((line) => line.replace(/"(epoch|receivedUs|publishedUs)":\d+/g, '"$1":0'))
}

describe('runtimes', () => {
  test('Deno and the binary publish the same events', async () => {
    const markets = await startSimulator({
      exchange: 'coinbase',
      symbols: ['BTC/USD'],
      levels: 10,
      rate: 1,
    })
    const server = new WebSocketServer({ port: 0, host: '127.0.0.1' })
    server.on('connection', (socket: WebSocket) => {
      socket.on('message', (data) => {
        if (data.toString().includes('"level2"')) {
          for (const frame of frames()) socket.send(frame)
        }
      })
    })
    try {
      const address = server.address() as { port: number }
      await inTemporaryFolder(async (folder) => {
        const args = [
          ...[
            '--exchange',
            'coinbase',
            '--map',
            writeMap(folder, { 'BTC/USD': 0 }),
            '--sink',
            'stdout',
          ],
          ...[
            '--ws-url',
            `ws://127.0.0.1:${address.port}`,
            '--rest-url',
            markets.restUrl,
            '--http',
            'off',
          ],
        ]
        const published = async (program: ReturnType<typeof start>): Promise<string[]> => {
          try {
            await until(
              () => `${UPDATES} deltas, ${program.stdout().length} bytes\n${program.stderr()}`,
              60_000,
              () => comparable(program.stdout()).length > UPDATES,
            )
          } finally {
            await program.stop()
          }
          return comparable(program.stdout()).slice(0, UPDATES + 1)
        }
        const deno = resolve(ROOT, 'node_modules/.bin/deno')
        const config = ['task', '--quiet', '--config', resolve(ROOT, 'deno.json'), 'start']
        const fromDeno = await published(start([...config, ...args], deno))
        const fromBinary = await published(start(args))
        assert.equal(fromBinary.length, UPDATES + 1)
        assert.match(fromBinary[0]!, /0\.12345678901234567/)
        assert.deepEqual(fromDeno, fromBinary)
      })
    } finally {
      server.close()
      for (const client of server.clients) client.terminate()
      await markets.close()
    }
  })
})
