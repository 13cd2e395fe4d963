/**
 * A worker without a feed, for tests of the supervisor: speaks the protocol and misbehaves as its
 * first argument says. `lines` are written to stdout when the plan arrives.
 */
import process from 'node:process'
import type { FromWorker, ToWorker, WorkerStats } from '../../src/agent/messages.ts'
import { bookOf, statsOf } from './fixtures.ts'

const [behaviour, id] = process.argv.slice(2)

function send(message: FromWorker): void {
  process.send!(message)
}

function stats(epochMax: number): WorkerStats {
  return statsOf([bookOf('BTC/USD')], { frames: 10, epochMax })
}

let unwritten = 0

function drained(): void {
  if (unwritten > 0) return void setTimeout(drained, 5)
  send({ type: 'drained', complete: behaviour !== 'incomplete', stats: stats(5) })
}

for (const signal of ['SIGINT', 'SIGTERM'] as const) process.on(signal, () => {})
process.on('disconnect', () => process.exit(0))
process.on('message', (message: ToWorker) => {
  switch (message.type) {
    case 'plan': {
      if (behaviour === 'never-available') process.exit(69)
      if (behaviour === 'dies-unheard' && message.epochFloor === 0) process.exit(7)
      // Tells by its number of frames what it was given.
      send({ type: 'stats', stats: stats(message.epochFloor + 1) })
      if (behaviour === 'exits') process.exit(7)
      if (behaviour === 'misconfigured') process.exit(78)
      if (behaviour === 'gone-with-agent') {
        send({ type: 'fatal', scope: 'agent', code: 'E', message: 'queue full', exitCode: 75 })
        setTimeout(() => process.exit(75), 50)
      }
      if (behaviour === 'unavailable') process.exit(69)
      if (behaviour === 'hangs') { for (;;); }
      if (behaviour === 'writes') {
        const tail = 'x'.repeat(10_000)
        for (let i = 0; i < 200; i++) {
          unwritten++
          process.stdout.write(`${id}:${i}:${tail}\n`, () => unwritten--)
        }
      }
      if (behaviour === 'half-line') {
        process.stdout.write(`whole ${id}\nhalf`, () => process.exit(7))
      }
      return
    }
    case 'drain':
      if (behaviour === 'deaf') return
      if (behaviour === 'dies-draining') process.exit(1)
      return drained()
    case 'goodbye':
      return process.exit(0)
  }
})
const buildId = behaviour === 'other-build' ? 'other' : 'ours'
send({ type: 'hello', pid: process.pid, buildId })
setInterval(() => send({ type: 'hello', pid: process.pid, buildId }), 50)
