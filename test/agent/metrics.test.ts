/** What is exposed: the text format, the families, and that counters survive a restart. */
import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { renderMetrics } from '../../src/agent/metrics.ts'
import { addStats, addTotals, emptyTotals } from '../../src/agent/totals.ts'
import { Exposition } from '../../src/telemetry/metrics.ts'
import { bookOf, statsOf, viewOf, workerOf } from './fixtures.ts'

const parent = {
  version: '1.2.3',
  commit: 'abc',
  logs: { error: 1, warn: 0, info: 5, debug: 0, trace: 0, dropped: 0 },
  rssBytes: 1000,
  cpuSeconds: 0.25,
}

/** Every sample of a scrape by its name and labels; fails on a line that is neither. */
function parse(text: string): Map<string, number> {
  const samples = new Map<string, number>()
  const types = new Map<string, string>()
  let family = ''
  assert.ok(text.endsWith('\n'))
  for (const line of text.slice(0, -1).split('\n')) {
    const comment = /^# (HELP|TYPE) ([a-z_]+) (.+)$/.exec(line)
    if (comment !== null) {
      if (comment[1] === 'HELP') {
        assert.ok(!types.has(comment[2]), `${comment[2]} twice`)
        family = comment[2]
      } else {
        assert.equal(comment[2], family)
        assert.match(comment[3], /^(counter|gauge|histogram)$/)
        types.set(family, comment[3])
        assert.equal(comment[3] === 'counter', family.endsWith('_total'), family)
      }
      continue
    }
    const sample = /^([a-z_]+)(\{.*\})? (\S+)$/.exec(line)
    assert.ok(sample !== null, line)
    assert.match(sample[1], new RegExp(`^${family}(_bucket|_sum|_count)?$`))
    const key = `${sample[1]}${sample[2] ?? ''}`
    assert.ok(!samples.has(key), `${key} twice`)
    samples.set(key, sample[3] === '+Inf' ? Infinity : Number(sample[3]))
    assert.ok(!Number.isNaN(samples.get(key)), line)
  }
  return samples
}

describe('text format', () => {
  test('labels are escaped', () => {
    const text = new Exposition().family('a', 'gauge', 'back\\slash').sample(1, {
      l: 'a"b\\c\nd',
      n: 3,
    }).toString()
    assert.equal(
      text,
      '# HELP a back\\\\slash\n# TYPE a gauge\na{l="a\\"b\\\\c\\nd",n="3"} 1\n',
    )
    const harmful = new Exposition().family('a', 'gauge', 'x').sample(1, {
      l: `\u2028\r币安人生/USDT${'x'.repeat(1000)}`,
    }).toString()
    assert.match(harmful, /\na\{l="\\\\u2028\\\\r币安人生\/USDTx+…"\} 1\n$/)
    assert.ok(harmful.length < 600)
  })

  test('a histogram is cumulative and ends with +Inf', () => {
    const text = new Exposition().family('h', 'histogram', 'x')
      .histogram([0.5, 1], [2, 3, 4], 7.5, { t: 'k' }).toString()
    assert.deepEqual([...parse(text)], [
      ['h_bucket{t="k",le="0.5"}', 2],
      ['h_bucket{t="k",le="1"}', 5],
      ['h_bucket{t="k",le="+Inf"}', 9],
      ['h_sum{t="k"}', 7.5],
      ['h_count{t="k"}', 9],
    ])
  })

  test('a family cannot be opened twice', () => {
    const out = new Exposition().family('a', 'gauge', 'x')
    assert.throws(() => out.family('a', 'gauge', 'x'), /twice/)
  })
})

describe('metrics of an agent', () => {
  const view = viewOf([
    workerOf({
      restarts: { exit: 2, heartbeat: 1 },
      stats: statsOf(
        [
          bookOf('BTC/USD', { resyncs: { gap: 2 } }),
          bookOf('ETH/USD', { state: 'suspect', stale: true, lastUpdateMs: 0 }),
        ],
        { reconnects: { stale: 4 } },
        { droppedRecords: 7, retries: 8, errors: 9 },
      ),
    }),
    workerOf({ id: 1, cpu: undefined, state: 'waiting', pid: undefined, stats: undefined }),
  ])
  const samples = parse(renderMetrics(view, parent))
  const expected: Readonly<Record<string, number>> = {
    'obfeed_ready': 0,
    'obfeed_worker_up{worker="0",cpu="1"}': 1,
    'obfeed_worker_up{worker="1",cpu=""}': 0,
    'obfeed_worker_restarts_total{worker="0",reason="exit"}': 2,
    'obfeed_worker_restarts_total{worker="0",reason="heartbeat"}': 1,
    'obfeed_worker_heartbeat_timestamp_seconds{worker="0"}': 1_700_000_001,
    'obfeed_worker_resident_memory_bytes{worker="0"}': 50_000_000,
    'obfeed_worker_cpu_seconds_total{worker="0"}': 1.5,
    'obfeed_worker_event_loop_lag_seconds{worker="0"}': 0.002,
    'obfeed_ws_connected{exchange="coinbase",worker="0"}': 1,
    'obfeed_ws_connected{exchange="coinbase",worker="1"}': 0,
    'obfeed_ws_reconnects_total{exchange="coinbase",reason="stale"}': 4,
    'obfeed_ws_messages_received_total{exchange="coinbase",worker="0"}': 100,
    'obfeed_ws_bytes_received_total{exchange="coinbase",worker="0"}': 2000,
    'obfeed_scanner_fallbacks_total{exchange="coinbase",worker="0"}': 1,
    'obfeed_book_updates_total{exchange="coinbase",symbol="BTC/USD"}': 6,
    'obfeed_book_resyncs_total{exchange="coinbase",symbol="BTC/USD",reason="gap"}': 2,
    'obfeed_book_last_update_timestamp_seconds{exchange="coinbase",symbol="BTC/USD"}':
      1_700_000_000.5,
    'obfeed_book_live{exchange="coinbase",symbol="BTC/USD"}': 1,
    'obfeed_book_live{exchange="coinbase",symbol="ETH/USD"}': 0,
    'obfeed_book_stale{exchange="coinbase",symbol="BTC/USD"}': 0,
    'obfeed_book_stale{exchange="coinbase",symbol="ETH/USD"}': 1,
    'obfeed_kafka_queue_records{worker="0"}': 4,
    'obfeed_kafka_queue_bytes{worker="0"}': 40,
    'obfeed_kafka_records_sent_total{topic="coinbase-orderbook",worker="0"}': 50,
    'obfeed_kafka_bytes_sent_total{topic="coinbase-orderbook",worker="0"}': 500,
    'obfeed_kafka_errors_total{topic="coinbase-orderbook",worker="0"}': 9,
    'obfeed_kafka_retries_total{topic="coinbase-orderbook",worker="0"}': 8,
    'obfeed_records_dropped_total{worker="0"}': 7,
    'obfeed_kafka_publish_latency_seconds_bucket{topic="coinbase-orderbook",le="0.001"}': 3,
    'obfeed_kafka_publish_latency_seconds_bucket{topic="coinbase-orderbook",le="+Inf"}': 4,
    'obfeed_kafka_publish_latency_seconds_sum{topic="coinbase-orderbook"}': 20.5,
    'obfeed_log_messages_total{level="info"}': 7,
    'obfeed_log_messages_total{level="error"}': 1,
  }
  for (const [key, value] of Object.entries(expected)) {
    test(key, () => assert.equal(samples.get(key), value))
  }

  test('build info names version, commit and runtime', () => {
    const key = [...samples.keys()].find((name) => name.startsWith('obfeed_build_info'))
    assert.match(key ?? '', /\{version="1.2.3",commit="abc",runtime="(bun|deno) [\d.]+"\}$/)
  })

  test('a book never heard of has no time of its last update', () => {
    const key = 'obfeed_book_last_update_timestamp_seconds{exchange="coinbase",symbol="ETH/USD"}'
    assert.equal(samples.has(key), false)
  })

  test('with stdout there is nothing said of Kafka', () => {
    const names = [...parse(renderMetrics({ ...view, sink: 'stdout' }, parent)).keys()].join('\n')
    assert.doesNotMatch(names, /kafka/)
    assert.match(names, /obfeed_stdout_records_total/)
  })
})

test('counters of dead lives are kept, by symbol and reason too', () => {
  const past = emptyTotals()
  const first = statsOf([bookOf('BTC/USD', { updates: 10, resyncs: { gap: 1 } })], {
    reconnects: { closed: 1 },
  })
  const second = statsOf([bookOf('BTC/USD', { updates: 5, resyncs: { gap: 2, stale: 1 } })])
  addStats(past, first)
  const now = addStats(addTotals(emptyTotals(), past), second)
  assert.equal(now.frames, 200)
  assert.deepEqual(now.books.get('BTC/USD'), { updates: 15, resyncs: { gap: 3, stale: 1 } })
  assert.deepEqual(now.reconnects, { closed: 1 })
  assert.equal(now.latencyBuckets[1], 4)
  assert.equal(now.logs.info, 4)
  assert.equal(past.frames, 100, 'a look at the living leaves the dead alone')
  assert.equal(past.books.get('BTC/USD')?.updates, 10)
})
