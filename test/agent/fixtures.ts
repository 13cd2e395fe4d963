/** Reports and views as the agent has them, with only what a test cares about spelled out. */
import type { KafkaStats, WorkerStats } from '../../src/agent/messages.ts'
import { addStats, emptyTotals } from '../../src/agent/totals.ts'
import type { AgentView, WorkerView } from '../../src/agent/view.ts'
import type { WorkerPlan } from '../../src/config/plan.ts'
import type { BookStats, FeedStats } from '../../src/feed/stats.ts'
import type { SinkStats } from '../../src/sinks/sink.ts'

export function planOf(id: number, ...symbols: string[]): WorkerPlan {
  const planned = symbols.map((symbol, partition) => ({
    symbol,
    wireSymbol: symbol.replace('/', '-'),
    priceDecimals: 2,
    sizeDecimals: 8,
    partition,
  }))
  return { id, connections: [planned], budgetShare: 1 }
}

export function bookOf(symbol: string, changes: Partial<BookStats> = {}): BookStats {
  return {
    symbol,
    partition: 0,
    state: 'live',
    stale: false,
    epoch: 1000,
    seq: 5,
    updates: 6,
    resyncs: {},
    lastUpdateMs: 1_700_000_000_500,
    bidLevels: 10,
    askLevels: 11,
    ...changes,
  }
}

export function statsOf(
  books: BookStats[],
  feed: Partial<FeedStats> = {},
  sink: Partial<SinkStats> = {},
): WorkerStats {
  return {
    feed: {
      frames: 100,
      bytes: 2000,
      scannerFallbacks: 1,
      unknownFrames: 2,
      duplicates: 3,
      connections: 1,
      connectionsOpen: 1,
      reconnects: {},
      snapshotAnswers: { ok: 0, refused: 0, limited: 0, failed: 0 },
      snapshotsWaiting: 0,
      held: '',
      heldMs: 0,
      epochMax: 1000,
      books,
      ...feed,
    },
    sink: {
      connected: true,
      queuedRecords: 4,
      queuedBytes: 40,
      oldestMs: 0,
      sentRecords: 50,
      sentBytes: 500,
      droppedRecords: 0,
      errors: 0,
      retries: 0,
      latencyBuckets: [1, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1],
      latencySumS: 20.5,
      latencyCount: 4,
      ...sink,
    },
    rssBytes: 50_000_000,
    cpuSeconds: 1.5,
    loopLagMs: 2,
    logs: { error: 0, warn: 1, info: 2, debug: 0, trace: 0, dropped: 0 },
  }
}

export function kafkaOf(changes: Partial<KafkaStats> = {}): KafkaStats {
  return {
    rivals: [],
    rivalEpochs: 0,
    throttledMs: 2_400,
    throttleMs: 1_200,
    isThrottled: false,
    failingMs: 0,
    ...changes,
  }
}

export function workerOf(changes: Partial<WorkerView> = {}): WorkerView {
  const stats = 'stats' in changes ? changes.stats : statsOf([bookOf('BTC/USD')])
  return {
    id: 0,
    cpu: 1,
    pid: 4711,
    state: 'running',
    startedMs: 1_700_000_000_000,
    heartbeatMs: 1_700_000_001_000,
    restarts: {},
    plan: planOf(changes.id ?? 0, ...(stats?.feed.books.map((book) => book.symbol) ?? [])),
    totals: stats === undefined ? emptyTotals() : addStats(emptyTotals(), stats),
    ...changes,
    stats,
  }
}

export function viewOf(workers: WorkerView[], changes: Partial<AgentView> = {}): AgentView {
  return {
    exchange: 'coinbase',
    sink: 'kafka',
    topic: 'coinbase-orderbook',
    startedMs: 1_700_000_000_000,
    draining: false,
    preparing: undefined,
    workers,
    ...changes,
  }
}
