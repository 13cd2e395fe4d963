/** Signals as the parent hears them. */
import assert from 'node:assert/strict'
import process from 'node:process'
import { test } from 'node:test'
import { Stopper } from '../../src/agent/signals.ts'

test('one wish that comes twice, as `timeout` and `npm` send it, only drains', () => {
  const done: string[] = []
  const exit = process.exit
  let now = 1000
  let end: number | string | null | undefined
  process.exit = (code) => {
    end ??= code
    return undefined as never
  }
  const agent = {
    draining: false,
    stop: (code: number) => done.push(`stop ${code}`),
    kill: (code: number) => done.push(`kill ${code}`),
  }
  const stopper = new Stopper(agent, 20_000, () => now)
  try {
    process.emit('SIGTERM')
    process.emit('SIGTERM')
    now += 200
    process.emit('SIGINT')
    assert.deepEqual(done, ['stop 0'])
    now += 100
    process.emit('SIGINT')
    assert.deepEqual(done.slice(0, 2), ['stop 0', 'kill 130'])
    assert.equal(end, 130)
  } finally {
    stopper.dispose()
    process.exit = exit
  }
})
