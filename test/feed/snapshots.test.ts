import { beforeEach, describe, test } from 'node:test'
import assert from 'node:assert/strict'
import { SnapshotQueue, type SnapshotReceiver } from '../../src/feed/snapshots.ts'
import { Address } from '../../src/feed/address.ts'
import { FakeEnvironment } from './world.ts'

class Receiver implements SnapshotReceiver {
  readonly log: string[] = []

  snapshotReceived(index: number, body: string): void {
    this.log.push(`${index} ${body}`)
  }

  snapshotRefused(index: number, status: number): void {
    this.log.push(`${index} refused ${status}`)
  }
}

describe('SnapshotQueue', () => {
  let environment: FakeEnvironment
  let queue: SnapshotQueue
  let receiver: Receiver
  /** What the other workers are told. */
  let limited: number[]
  let address: Address

  const options = (weightPerMinute = Infinity) => ({
    restUrl: 'http://127.0.0.1:8080/rest',
    weightPerMinute,
    address,
    isOwnError: (body: string) => body === 'bad symbol',
  })

  beforeEach(() => {
    environment = new FakeEnvironment()
    limited = []
    address = new Address(environment, ({ forMs }) => limited.push(forMs))
    queue = new SnapshotQueue(environment, options())
    receiver = new Receiver()
  })

  const url = (index: number) => `https://api.example/depth?s=${index}`
  const ask = (index: number, priority = 0, weight = 1) => ({
    url: url(index),
    weight,
    priority,
    isUrgent: priority < 1_000_000,
  })
  const asked = () => environment.requests.map((request) => request.url.slice(-1)).join('')

  test('two at a time, in order, at the overridden endpoint', () => {
    for (let i = 0; i < 4; i++) queue.request(receiver, i, ask(i))
    assert.equal(environment.requests[0].url, 'http://127.0.0.1:8080/rest/depth?s=0')
    assert.equal(asked(), '01')
    environment.requests[1].answer({ status: 200, body: 'one' })
    assert.equal(asked(), '012')
    environment.requests[0].answer({ status: 200, body: 'zero' })
    environment.requests[3].answer({ status: 200, body: 'three' })
    environment.requests[2].answer({ status: 200, body: 'two' })
    assert.deepEqual(receiver.log, ['1 one', '0 zero', '3 three', '2 two'])
    assert.equal(queue.pending(receiver, 0), false)
    assert.equal(environment.pendingTimers, 0)
  })

  test('one that weighs more than a share of a minute takes more than a minute', () => {
    queue = new SnapshotQueue(environment, options(100))
    for (let i = 0; i < 9; i++) queue.request(receiver, i, ask(i, 0, 250))
    for (let minute = 0; minute < 10; minute++) {
      for (const request of environment.requests) request.answer({ status: 200, body: '' })
      environment.advance(60_000)
    }
    const weight = 250 * environment.requests.length
    assert.ok(weight > 750 && weight <= 250 + 10 * 100, `${weight} in ten minutes`)
  })

  test('no answer and server errors are tried again with growing delays', () => {
    queue.request(receiver, 0, ask(0))
    const delays: number[] = []
    for (let attempt = 0; attempt < 7; attempt++) {
      const count = environment.requests.length
      environment.requests[count - 1].answer({ status: attempt % 2 === 0 ? 0 : 503, body: '' })
      let waited = 0
      while (environment.requests.length === count) {
        environment.advance(50)
        waited += 50
      }
      delays.push(waited)
    }
    assert.deepEqual(delays, [750, 1500, 3000, 6000, 12_000, 22_500, 22_500])
    environment.requests[7].answer({ status: 200, body: 'late' })
    assert.deepEqual(receiver.log, ['0 late'])
  })

  test('one that is never answered is given up after 10 s and asked again', () => {
    queue.request(receiver, 0, ask(0))
    environment.advance(10_000)
    assert.equal(environment.requests.length, 1)
    assert.equal(queue.pending(receiver, 0), true)
    environment.advance(1000)
    assert.equal(environment.requests.length, 2)
  })

  test('Retry-After holds for every request', () => {
    queue.request(receiver, 0, ask(0))
    environment.requests[0].answer({ status: 429, body: '', retryAfterMs: 20_000 })
    queue.request(receiver, 1, ask(1))
    environment.advance(19_900)
    assert.equal(environment.requests.length, 1)
    environment.advance(200)
    assert.equal(environment.requests.length, 2, 'one to see whether it is over')
    environment.requests[1].answer({ status: 200, body: '' })
    assert.equal(environment.requests.length, 3)
    assert.deepEqual(limited, [20_000])
  })

  for (const status of [401, 403, 407, 451]) {
    test(`${status} without a word of the exchange is about the address: longer and longer`, () => {
      environment.randomValue = 0
      queue.request(receiver, 0, ask(0))
      queue.request(receiver, 1, ask(1))
      const page = { status, body: '<html>Access denied</html>' }
      for (const request of environment.requests.splice(0)) request.answer(page)
      for (const seconds of [5, 10, 20, 40, 80, 160, 300, 300]) {
        environment.advance(seconds * 1000 - 100)
        assert.equal(environment.requests.length, 0, `${seconds} s`)
        environment.advance(200)
        assert.equal(environment.requests.length, 1)
        environment.requests.splice(0)[0].answer(page)
      }
      assert.deepEqual(receiver.log, [], 'no symbol is refused')
      assert.deepEqual(limited, [5, 10, 20, 40, 80, 160, 300, 300, 300].map((s) => s * 1000))
      environment.advance(300_000)
      environment.requests.splice(0)[0].answer({ status: 200, body: 'book' })
      environment.requests.splice(0)[0].answer(page)
      assert.equal(limited.at(-1), 5000, 'after a good answer it begins anew')
    })

    test(`${status} with one is about the symbol`, () => {
      queue.request(receiver, 0, ask(0))
      environment.requests[0].answer({ status, body: 'bad symbol' })
      assert.deepEqual(receiver.log, [`0 refused ${status}`])
      assert.deepEqual(limited, [])
    })
  }

  test('what another worker was told holds here as well', () => {
    environment.randomValue = 0
    address.join({ forMs: 5000, reason: 'HTTP 429' })
    queue.request(receiver, 0, ask(0))
    environment.advance(4900)
    assert.equal(environment.requests.length, 0)
    environment.advance(200)
    assert.equal(environment.requests.length, 1)
    assert.deepEqual(limited, [], 'and is not told on')
  })

  test('the most wanted go first, also before those that came earlier', () => {
    queue.request(receiver, 0, ask(0))
    queue.request(receiver, 1, ask(1))
    queue.request(receiver, 2, ask(2, 1_000_000))
    queue.request(receiver, 3, ask(3, 7))
    queue.request(receiver, 4, ask(4, 5))
    for (let i = 0; i < 5; i++) environment.requests[i].answer({ status: 200, body: '' })
    assert.equal(asked(), '01432')
  })

  test('no more weight in any minute than the exchange allows', () => {
    queue = new SnapshotQueue(environment, options(1000))
    for (let i = 0; i < 9; i++) queue.request(receiver, i, ask(i, 0, 250))
    const times: number[] = []
    for (let ms = 0; ms < 190_000; ms += 100) {
      for (let i = times.length; i < environment.requests.length; i++) {
        times.push(ms)
        environment.requests[i].answer({ status: 200, body: '' })
      }
      environment.advance(100)
    }
    assert.equal(times.length, 9)
    for (let i = 3; i < times.length; i++) {
      assert.ok(times[i] - times[i - 3] >= 59_900, `request ${i} at ${times[i]} ms`)
    }
    assert.equal(times[2], 0, 'the budget of a quiet minute is there at once')
  })

  test('what nobody waits for leaves half of the budget to those that do', () => {
    queue = new SnapshotQueue(environment, options(1000))
    for (let i = 0; i < 4; i++) queue.request(receiver, i, ask(i, 1_000_000, 200))
    for (let i = 0; i < 4; i++) environment.requests[i]?.answer({ status: 200, body: '' })
    assert.equal(asked(), '01')
    for (let i = 5; i < 9; i++) queue.request(receiver, i, ask(i, 0, 200))
    for (let i = 2; i < 6; i++) environment.requests[i]?.answer({ status: 200, body: '' })
    assert.equal(asked(), '0156')
    environment.advance(61_100)
    for (let i = 4; i < 9; i++) environment.requests[i]?.answer({ status: 200, body: '' })
    assert.equal(asked(), '015678', 'and still goes last')
  })

  test('a request above the whole budget goes alone', () => {
    queue = new SnapshotQueue(environment, options(100))
    queue.request(receiver, 0, ask(0, 0, 250))
    queue.request(receiver, 1, ask(1, 0, 1))
    assert.equal(asked(), '0')
    environment.advance(170_000)
    assert.equal(asked(), '0')
    environment.advance(10_000)
    assert.equal(asked(), '01')
  })

  test('what the exchange refuses is told and not asked again', () => {
    queue.request(receiver, 0, ask(0))
    environment.requests[0].answer({ status: 400, body: 'bad symbol' })
    environment.advance(100_000)
    assert.deepEqual(receiver.log, ['0 refused 400'])
    assert.equal(environment.requests.length, 1)
  })

  test('a cancelled receiver gets nothing any more, others move up', () => {
    const other = new Receiver()
    for (let i = 0; i < 3; i++) queue.request(receiver, i, ask(i))
    queue.request(other, 7, ask(7))
    queue.cancel(receiver)
    assert.equal(asked(), '017')
    assert.ok(environment.requests[0].cancelled && environment.requests[1].cancelled)
    environment.requests[2].answer({ status: 200, body: 'seven' })
    environment.advance(100_000)
    assert.deepEqual([receiver.log, other.log], [[], ['7 seven']])
  })

  test('a later request of the same symbol replaces the earlier one', () => {
    queue.request(receiver, 0, ask(0))
    queue.request(receiver, 0, ask(9))
    assert.ok(environment.requests[0].cancelled)
    environment.requests[1].answer({ status: 200, body: 'nine' })
    assert.deepEqual(receiver.log, ['0 nine'])
  })
})
