import assert from 'node:assert/strict'
import { test } from 'node:test'
import { publishedBeforeWorker } from '../../src/agent/published.ts'
import type { BookStats } from '../../src/feed/stats.ts'

const topic = new Map([
  ['A/USD', { epoch: 100, nonce: 5, timestampMs: 1000, recordMs: 50, hasEnded: true }],
  ['B/USD', { epoch: 200, recordMs: 60, hasEnded: false }],
])

function book(symbol: string, more: Partial<BookStats>): BookStats {
  return {
    symbol,
    partition: 0,
    state: 'live',
    stale: false,
    epoch: 0,
    seq: 0,
    updates: 0,
    resyncs: {},
    lastUpdateMs: 0,
    bidLevels: 0,
    askLevels: 0,
    ...more,
  }
}

test('the first worker knows what the topic held', () => {
  assert.deepEqual(publishedBeforeWorker(['A/USD', 'C/USD'], topic, [], 9), {
    'A/USD': topic.get('A/USD'),
  })
})

test('a successor knows where its predecessor had come', () => {
  const reported = [
    book('A/USD', { epoch: 300, nonce: 77, timestampMs: 2000 }),
    book('B/USD', { epoch: 0 }),
    book('C/USD', { epoch: 150, nonce: '9007199254740993' }),
  ]
  assert.deepEqual(publishedBeforeWorker(['A/USD', 'B/USD', 'C/USD'], topic, reported, 9), {
    'A/USD': { epoch: 300, nonce: 77, timestampMs: 2000, recordMs: 50, hasEnded: true },
    'B/USD': topic.get('B/USD'),
    'C/USD': { epoch: 150, nonce: '9007199254740993', recordMs: 9, hasEnded: false },
  })
})
