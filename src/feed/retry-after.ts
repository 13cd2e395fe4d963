/** How long an answer asks to wait. */

/** Nobody waits longer because of one answer: more is a mistake. */
const RETRY_AFTER_MAX_MS = 24 * 60 * 60_000

/** `Retry-After` in ms, at most a day: seconds or an HTTP date; undefined when absent or unreadable. */
export function parseRetryAfter(header: string | undefined, nowMs: number): number | undefined {
  if (header === undefined) return undefined
  const text = header.trim()
  if (/^\d+(\.\d+)?$/.test(text)) return bounded(Number(text) * 1000)
  const at = Date.parse(text)
  return Number.isNaN(at) ? undefined : bounded(at - nowMs)
}

function bounded(ms: number): number {
  return Math.min(RETRY_AFTER_MAX_MS, Math.max(0, Math.ceil(ms)))
}
