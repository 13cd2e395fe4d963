/**
 * What every adapter with a byte scanner owes: whatever the bytes of a frame are, the scanner says
 * what the JSON route says, or leaves the frame to it.
 */
import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import fc from 'fast-check'
import type { Instrument } from '../../src/core/instrument.ts'
import { changedBytes, otherLengths, slowed, wounded, wounds } from './wounds.ts'

const encoder = new TextEncoder()

export interface Routes {
  /**
   * All that can be seen of a session that lives through good frames and, among them, through
   * `bytes`; but not how long its frames were.
   */
  readonly story: (bytes: Uint8Array, instruments: readonly Instrument[]) => unknown
  readonly instruments: readonly [Instrument, Instrument]
  /** Those that `frames` are read with, in any scale. Absent: `instruments`. */
  readonly scaled?: readonly [Instrument, Instrument]
  /** Frames with all that may stand in them, legal or not. */
  readonly frames: fc.Arbitrary<string>
  /** Frames that the scanner reads to their end. */
  readonly plain: fc.Arbitrary<string>
  /** Plain frames of each kind, to be changed in every byte, and cut at every one. */
  readonly examples: readonly string[]
  readonly runs: { readonly frames: number; readonly wounded: number }
  /**
   * Gives one frame to a session that can use it. Returns its `scannerFallbacks`, of which frames
   * given before have no part.
   */
  readonly fallbacks: (text: string) => number
}

const DECIMALS_MAX = 22

/** The tests of one adapter; `name` tells apart several in one file. */
export function describeRoutes(routes: Routes, name = ''): void {
  const { story, instruments, scaled = instruments, frames, plain, examples, runs } = routes

  function assertRoutesAgree(bytes: Uint8Array, some: readonly Instrument[]): void {
    assert.deepEqual(story(bytes, some), story(slowed(bytes), some))
  }

  const scales = fc.tuple(fc.nat(DECIMALS_MAX), fc.nat(DECIMALS_MAX)).map(([one, other]) => [
    { ...scaled[0], priceDecimals: one, sizeDecimals: other },
    { ...scaled[1], priceDecimals: other, sizeDecimals: one },
  ])

  describe(`the byte scanner and the JSON route${name}`, () => {
    test('agree on any frame', () => {
      fc.assert(
        fc.property(frames, scales, (text, some) => {
          assertRoutesAgree(encoder.encode(text), some)
        }),
        { numRuns: runs.frames },
      )
    })

    test('agree on any wounded frame, and never throw', () => {
      fc.assert(
        fc.property(fc.oneof(plain, frames), wounds, (text, all) => {
          assertRoutesAgree(wounded(encoder.encode(text), all), instruments)
        }),
        { numRuns: runs.wounded },
      )
    })

    test('agree when any one byte is any other of the bytes that matter', () => {
      for (const text of examples) {
        for (const bytes of changedBytes(encoder.encode(text))) {
          assertRoutesAgree(bytes, instruments)
        }
      }
    })

    test('agree on frames cut anywhere, and with more behind them', () => {
      for (const text of examples) {
        for (const bytes of otherLengths(encoder.encode(text))) {
          assertRoutesAgree(bytes, instruments)
        }
      }
    })

    test('the comparison compares: plain frames really take different routes, and agree', () => {
      for (const text of examples) assertDifferentRoutes(text)
      fc.assert(
        fc.property(plain, scales, (text, some) => {
          assertDifferentRoutes(text)
          assertRoutesAgree(encoder.encode(text), some)
        }),
        { numRuns: 300 },
      )
    })

    function assertDifferentRoutes(text: string): void {
      assert.equal(routes.fallbacks(text), 0)
      assert.equal(routes.fallbacks(` ${text}`), 1)
      assert.equal(routes.fallbacks(`${text} `), 1)
    }
  })
}
