/**
 * An exchange whose REST snapshots end after a few levels: the real session's whole books are cut to
 * so many levels a side before the feed sees them, horizons and all.
 */
import { ASK, BID, LevelChanges } from '../../src/core/changes.ts'
import type { Adapter, SessionOutput } from '../../src/exchanges/adapter.ts'

export function shallow(adapter: Adapter, levels: number): Adapter {
  return {
    ...adapter,
    depth: (wanted) => ({
      view: wanted === 0 || wanted > levels ? levels : wanted,
      kept: Infinity,
    }),
    open: (instruments, output, depth) => adapter.open(instruments, cutting(output, levels), depth),
  }
}

function cutting(output: SessionOutput, levels: number): SessionOutput {
  return {
    send: (text) => output.send(text),
    snapshot: (index, changes) => output.snapshot(index, cut(changes, levels)),
    delta: (index, changes) => output.delta(index, changes),
    refreshed: (index, changes) => output.refreshed(index, cut(changes, levels)),
    suspect: (index, reason, detail) => output.suspect(index, reason, detail),
    requestSnapshot: (index, url, weight, delayMs) =>
      output.requestSnapshot(index, url, weight, delayMs),
    retire: (detail) => output.retire(detail),
    fail: (error) => output.fail(error),
  }
}

/** A copy with the best levels only. Prices and sizes of simulated markets are on the grid. */
function cut(changes: LevelChanges, levels: number): LevelChanges {
  const made = new LevelChanges()
  made.nonce = changes.nonce
  made.nonceText = changes.nonceText
  made.timestampMs = changes.timestampMs
  made.receivedUs = changes.receivedUs
  for (const which of [BID, ASK]) {
    const sizes = new Map<number, number>()
    for (let i = 0; i < changes.count; i++) {
      if (changes.side[i] === which) sizes.set(changes.price[i]!, changes.size[i]!)
    }
    const best = [...sizes].filter(([, size]) => size > 0)
      .sort(([a], [b]) => which === BID ? b - a : a - b)
    const horizon = which === BID ? changes.bidHorizon : changes.askHorizon
    const worst = best.length > levels ? best[levels - 1]![0] : horizon
    if (which === BID) made.bidHorizon = worst
    else made.askHorizon = worst
    for (const [price, size] of best.slice(0, levels)) {
      const i = made.count++
      if (i === made.side.length) made.grow()
      made.side[i] = which
      made.price[i] = price
      made.size[i] = size
    }
  }
  return made
}
