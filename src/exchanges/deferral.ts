/** What an exchange refuses for the moment, because it was asked too often. */
import { ObfeedError } from '../core/errors.ts'
import type { Instrument } from '../core/instrument.ts'
import type { SessionOutput } from './adapter.ts'

/**
 * These were refused and nothing else was: each is asked for again after `retryAfterMs`, and whatever
 * is live goes on. The session counts none of their messages any more when it calls this.
 */
export function defer(
  output: SessionOutput,
  instruments: readonly Instrument[],
  indexes: Iterable<number>,
  message: string,
  retryAfterMs: number,
): void {
  for (const index of indexes) {
    const { symbol } = instruments[index]!
    output.fail(
      new ObfeedError('E_RATE_LIMITED', message, { scope: 'symbol', symbol, retryAfterMs }),
    )
  }
}

/** The positions of `states` that have one of these. */
export function indexesIn(states: Uint8Array, ...wanted: readonly number[]): number[] {
  const found: number[] = []
  for (let i = 0; i < states.length; i++) if (wanted.includes(states[i]!)) found.push(i)
  return found
}
