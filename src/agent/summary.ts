/** The agent's view in a dozen numbers, for its log. */
import { addTotals, emptyTotals } from './totals.ts'
import { type AgentView, plannedSymbols } from './view.ts'

export interface Summary {
  readonly upSeconds: number
  readonly workersUp: number
  readonly books: number
  readonly live: number
  readonly frames: number
  readonly updates: number
  readonly resyncs: number
  readonly sentRecords: number
  readonly queuedRecords: number
  readonly droppedRecords: number
  readonly rssMb: number
}

export function summarize(view: AgentView): Summary {
  const totals = view.workers.reduce((sum, one) => addTotals(sum, one.totals), emptyTotals())
  let workersUp = 0
  let books = 0
  let live = 0
  let queuedRecords = 0
  let rssBytes = 0
  for (const { plan, stats, state } of view.workers) {
    books += plannedSymbols(plan).length
    if (stats === undefined) continue
    if (state === 'running') workersUp++
    live += stats.feed.books.filter((book) => book.state === 'live').length
    queuedRecords += stats.sink.queuedRecords
    rssBytes += stats.rssBytes
  }
  let updates = 0
  let resyncs = 0
  for (const book of totals.books.values()) {
    updates += book.updates
    resyncs += Object.values(book.resyncs).reduce((sum, count) => sum + count, 0)
  }
  return {
    upSeconds: Math.round((Date.now() - view.startedMs) / 1000),
    workersUp,
    books,
    live,
    frames: totals.frames,
    updates,
    resyncs,
    sentRecords: totals.sentRecords,
    queuedRecords,
    droppedRecords: totals.droppedRecords,
    rssMb: Math.round(rssBytes / 2 ** 20),
  }
}
