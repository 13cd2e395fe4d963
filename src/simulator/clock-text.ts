/** Times as exchanges write them. */

/** `2026-08-24T22:34:13` */
function secondText(second: number): string {
  return new Date(second * 1000).toISOString().slice(0, 19)
}

/** RFC 3339 with nanoseconds, as the gateway stamps its frames. */
export function timestampText(nowMs: number, decimals = 9): string {
  const ms = Math.floor(nowMs)
  const second = Math.floor(ms / 1000)
  const nanos = (ms - second * 1000) * 1e6 + Math.floor((nowMs - ms) * 1e6)
  return `${secondText(second)}.${String(nanos).padStart(9, '0').slice(0, decimals)}Z`
}
