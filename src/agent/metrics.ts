/** The agent's view as Prometheus metrics: every family obfeed exposes is written here. */
import { LATENCY_BUCKETS_S } from '../sinks/sink.ts'
import { Exposition } from '../telemetry/metrics.ts'
import { runtimeVersion } from './runtime.ts'
import { addTotals, emptyTotals } from './totals.ts'
import type { LogCounts } from './messages.ts'
import { type AgentView, plannedSymbols, readiness } from './view.ts'

/** What the parent process itself adds to a scrape. */
export interface ParentFacts {
  readonly version: string
  readonly commit: string
  readonly logs: LogCounts
  readonly rssBytes: number
  readonly cpuSeconds: number
}

export function renderMetrics(view: AgentView, parent: ParentFacts): string {
  const out = new Exposition()
  out.family('obfeed_build_info', 'gauge', 'Build of the running agent, always 1')
    .sample(1, { version: parent.version, commit: parent.commit, runtime: runtimeVersion() })
  out.family('obfeed_ready', 'gauge', '1 when /readyz answers 200')
    .sample(readiness(view).every((check) => check.ok) ? 1 : 0)
  writeProcess(out, view, parent)
  writeWorkers(out, view)
  writeFeed(out, view)
  writeBooks(out, view)
  writeSink(out, view)
  const all = view.workers.reduce((sum, worker) => addTotals(sum, worker.totals), emptyTotals())
  out.family('obfeed_log_messages_total', 'counter', 'Log messages of all processes')
  for (const level of ['error', 'warn', 'info', 'debug', 'trace'] as const) {
    out.sample(parent.logs[level] + all.logs[level], { level })
  }
  out.family('obfeed_log_dropped_total', 'counter', 'Log lines lost to a slow reader of stderr')
    .sample(parent.logs.dropped + all.logs.dropped)
  return out.toString()
}

function writeProcess(out: Exposition, view: AgentView, parent: ParentFacts): void {
  out.family('process_start_time_seconds', 'gauge', 'Start of the agent, seconds since 1970')
    .sample(view.startedMs / 1000)
  out.family('process_resident_memory_bytes', 'gauge', 'Resident memory of the parent process')
    .sample(parent.rssBytes)
  out.family('process_cpu_seconds_total', 'counter', 'CPU time of the parent process')
    .sample(parent.cpuSeconds)
}

function writeWorkers(out: Exposition, view: AgentView): void {
  out.family('obfeed_worker_up', 'gauge', '1 when the worker runs and reports')
  for (const worker of view.workers) {
    const cpu = worker.cpu === undefined ? '' : `${worker.cpu}`
    out.sample(worker.state === 'running' && worker.stats !== undefined ? 1 : 0, {
      worker: worker.id,
      cpu,
    })
  }
  out.family('obfeed_worker_restarts_total', 'counter', 'Deaths of a worker that was started again')
  for (const { id, restarts } of view.workers) {
    for (const reason in restarts) out.sample(restarts[reason], { worker: id, reason })
  }
  out.family(
    'obfeed_worker_heartbeat_timestamp_seconds',
    'gauge',
    'Time of the last message of the worker, seconds since 1970',
  )
  for (const { id, heartbeatMs } of view.workers) out.sample(heartbeatMs / 1000, { worker: id })
  out.family('obfeed_worker_resident_memory_bytes', 'gauge', 'Resident memory of the worker')
  for (const { id, stats } of view.workers) {
    if (stats !== undefined) out.sample(stats.rssBytes, { worker: id })
  }
  out.family('obfeed_worker_cpu_seconds_total', 'counter', 'CPU time of the worker over all lives')
  for (const { id, totals } of view.workers) out.sample(totals.cpuSeconds, { worker: id })
  out.family(
    'obfeed_worker_event_loop_lag_seconds',
    'gauge',
    'Longest delay of the event loop in the last second',
  )
  for (const { id, stats } of view.workers) {
    if (stats !== undefined) out.sample(stats.loopLagMs / 1000, { worker: id })
  }
}

function writeFeed(out: Exposition, view: AgentView): void {
  const exchange = view.exchange
  out.family('obfeed_ws_connected', 'gauge', 'Exchange sockets that are open')
  for (const { id, stats } of view.workers) {
    out.sample(stats?.feed.connectionsOpen ?? 0, { exchange, worker: id })
  }
  const reconnects: Record<string, number> = {}
  for (const { totals } of view.workers) {
    for (const reason in totals.reconnects) {
      reconnects[reason] = (reconnects[reason] ?? 0) + totals.reconnects[reason]
    }
  }
  out.family('obfeed_ws_reconnects_total', 'counter', 'Exchange sockets opened again after a loss')
  for (const reason in reconnects) out.sample(reconnects[reason], { exchange, reason })
  out.family('obfeed_rest_snapshots_total', 'counter', 'REST snapshots asked for, by outcome')
  for (const { id, totals } of view.workers) {
    for (const [outcome, count] of Object.entries(totals.snapshotAnswers)) {
      out.sample(count, { exchange, worker: id, outcome })
    }
  }
  out.family('obfeed_rest_snapshots_waiting', 'gauge', 'REST snapshots that are wanted')
  for (const { id, stats } of view.workers) {
    out.sample(stats?.feed.snapshotsWaiting ?? 0, { exchange, worker: id })
  }
  const perWorker = [
    ['obfeed_ws_messages_received_total', 'WebSocket messages received', 'frames'],
    ['obfeed_ws_bytes_received_total', 'Bytes of WebSocket messages received', 'bytes'],
    [
      'obfeed_scanner_fallbacks_total',
      'Messages the byte scanner handed to the JSON route',
      'scannerFallbacks',
    ],
    ['obfeed_ws_unknown_messages_total', 'Messages of a kind that is not known', 'unknownFrames'],
    ['obfeed_ws_duplicate_messages_total', 'Messages with a sequence seen before', 'duplicates'],
  ] as const
  for (const [name, help, key] of perWorker) {
    out.family(name, 'counter', help)
    for (const { id, totals } of view.workers) out.sample(totals[key], { exchange, worker: id })
  }
}

function writeBooks(out: Exposition, view: AgentView): void {
  const exchange = view.exchange
  const symbols = view.workers.flatMap((worker) => {
    const books = new Map(worker.stats?.feed.books.map((book) => [book.symbol, book]))
    return plannedSymbols(worker.plan).map((symbol) => ({
      symbol,
      book: books.get(symbol),
      totals: worker.totals.books.get(symbol),
    }))
  })
  out.family('obfeed_book_live', 'gauge', '1 when the book is proven and published')
  for (const { symbol, book } of symbols) {
    out.sample(book?.state === 'live' ? 1 : 0, { exchange, symbol })
  }
  out.family('obfeed_book_stale', 'gauge', '1 when the symbol is silent beyond its own rhythm')
  for (const { symbol, book } of symbols) out.sample(book?.stale ? 1 : 0, { exchange, symbol })
  out.family('obfeed_book_updates_total', 'counter', 'Deltas and snapshots published')
  for (const { symbol, totals } of symbols) {
    out.sample(totals?.updates ?? 0, { exchange, symbol })
  }
  out.family('obfeed_book_resyncs_total', 'counter', 'Times the book was lost')
  for (const { symbol, totals } of symbols) {
    const resyncs: Readonly<Record<string, number>> = totals?.resyncs ?? {}
    for (const reason in resyncs) out.sample(resyncs[reason], { exchange, symbol, reason })
  }
  out.family(
    'obfeed_book_last_update_timestamp_seconds',
    'gauge',
    'Time of the last exchange message for the book, seconds since 1970',
  )
  for (const { symbol, book } of symbols) {
    if (book !== undefined && book.lastUpdateMs > 0) {
      out.sample(book.lastUpdateMs / 1000, { exchange, symbol })
    }
  }
}

function writeSink(out: Exposition, view: AgentView): void {
  out.family('obfeed_records_dropped_total', 'counter', 'Events given up before delivery')
  for (const { id, totals } of view.workers) out.sample(totals.droppedRecords, { worker: id })
  if (view.sink === 'stdout') {
    out.family('obfeed_stdout_records_total', 'counter', 'Events written to stdout')
    for (const { id, totals } of view.workers) out.sample(totals.sentRecords, { worker: id })
    out.family('obfeed_stdout_bytes_total', 'counter', 'Bytes of events written to stdout')
    for (const { id, totals } of view.workers) out.sample(totals.sentBytes, { worker: id })
    return
  }
  const topic = view.topic
  out.family('obfeed_kafka_connected', 'gauge', '1 when the worker is connected to Kafka')
  for (const { id, stats } of view.workers) {
    out.sample(stats?.sink.connected ? 1 : 0, { worker: id })
  }
  out.family('obfeed_kafka_queue_records', 'gauge', 'Events waiting for Kafka')
  for (const { id, stats } of view.workers) {
    out.sample(stats?.sink.queuedRecords ?? 0, { worker: id })
  }
  out.family('obfeed_kafka_queue_bytes', 'gauge', 'Bytes of events waiting for Kafka')
  for (const { id, stats } of view.workers) {
    out.sample(stats?.sink.queuedBytes ?? 0, { worker: id })
  }
  out.family('obfeed_kafka_rivals', 'gauge', 'Other producers of the same symbols')
  for (const { id, stats } of view.workers) {
    out.sample(stats?.kafka?.rivals.length ?? 0, { topic, worker: id })
  }
  out.family('obfeed_kafka_oldest_seconds', 'gauge', 'Age of the oldest event not acknowledged')
  for (const { id, stats } of view.workers) {
    out.sample((stats?.sink.oldestMs ?? 0) / 1000, { worker: id })
  }
  out.family(
    'obfeed_kafka_throttle_seconds_total',
    'counter',
    'Time that quotas of the brokers asked to wait',
  )
  for (const { id, totals } of view.workers) {
    out.sample(totals.throttledMs / 1000, { topic, worker: id })
  }
  const counters = [
    ['obfeed_kafka_records_sent_total', 'Events acknowledged by Kafka', 'sentRecords'],
    ['obfeed_kafka_bytes_sent_total', 'Bytes of events acknowledged by Kafka', 'sentBytes'],
    ['obfeed_kafka_errors_total', 'Kafka requests that failed', 'sinkErrors'],
    ['obfeed_kafka_retries_total', 'Kafka requests that were tried again', 'sinkRetries'],
    ['obfeed_kafka_rival_epochs_total', 'Epochs begun because of another producer', 'rivalEpochs'],
  ] as const
  for (const [name, help, key] of counters) {
    out.family(name, 'counter', help)
    for (const { id, totals } of view.workers) out.sample(totals[key], { topic, worker: id })
  }
  const all = view.workers.reduce((sum, worker) => addTotals(sum, worker.totals), emptyTotals())
  out.family(
    'obfeed_kafka_publish_latency_seconds',
    'histogram',
    'Time from the hand-over of an event to its acknowledgement',
  )
  out.histogram(LATENCY_BUCKETS_S, all.latencyBuckets, all.latencySumS, { topic })
}
