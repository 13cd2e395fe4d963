/** What a worker must know of its symbols' past: what consumers were told before it began. */
import type { BookStats } from '../feed/stats.ts'
import type { LastPublished } from '../kafka/last-published.ts'

/**
 * By symbol: what the topic held when the agent began, with what the worker's predecessor last
 * reported in its place. A report may be a second old, so an epoch is no less than the topic's.
 */
export function publishedBeforeWorker(
  symbols: readonly string[],
  topic: ReadonlyMap<string, LastPublished>,
  reported: readonly BookStats[],
  nowMs: number,
): Record<string, LastPublished> {
  const published: Record<string, LastPublished> = {}
  const books = new Map(reported.map((book) => [book.symbol, book]))
  for (const symbol of symbols) {
    const last = topic.get(symbol)
    const { epoch = 0, nonce, timestampMs } = books.get(symbol) ?? {}
    if (epoch === 0) {
      if (last !== undefined) published[symbol] = last
      continue
    }
    published[symbol] = {
      recordMs: nowMs,
      hasEnded: false,
      ...last,
      epoch: Math.max(epoch, last?.epoch ?? 0),
      ...(nonce === undefined ? {} : { nonce }),
      ...(timestampMs === undefined ? {} : { timestampMs }),
    }
  }
  return published
}
