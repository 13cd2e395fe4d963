/**
 * Part of the contract: what an exchange says in words of its own costs nothing, however long it is
 * and whatever stands in it, and comes out short and printable.
 */
import assert from 'node:assert/strict'
import process from 'node:process'
import { test } from 'node:test'
import { isRecord } from '../../src/exchanges/decode.ts'
import type { Fixture, ModelFrame } from './fixture.ts'
import { type Run, started } from './run.ts'

const MB = 1_000_000
/** For one frame of 1 MB, decoding it and parsing its JSON included. */
const WITHIN_MS = 50
/** Of all messages of ours: what the exchange says in them is at most 500. */
const MESSAGE_MAX = 1200

// deno-lint-ignore no-control-regex
const HARMFUL = /[\x00-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff]/

/** What makes searching for a name slow, or a line into two. */
const HOSTILE: Readonly<Record<string, string>> = {
  'one word': 'A'.repeat(MB),
  'names without an end': 'A-'.repeat(MB / 2),
  'slashes': '/'.repeat(MB),
  'marks': 'orderbook.A:'.repeat(MB / 12),
  'words': 'A-B '.repeat(MB / 4),
  'quotes': `'"`.repeat(MB / 2),
  'spaces': ' '.repeat(MB),
  'digits': '1'.repeat(MB),
  'lines': '\n2026-12-01T00:00:00.000Z ERROR agent forged\r\u2028\u2029\u0085'.repeat(MB / 50),
  'signs that move a cursor': '\x1b[2J\u202e\u0000\ufeff'.repeat(MB / 20),
  'half characters': '\ud83d'.repeat(MB / 6),
}

/** Deeper than a stack is. */
const NESTED = '['.repeat(60_000) + ']'.repeat(60_000)

function assertReadable(run: Run, what: string): void {
  const { failures, suspects, retirements } = run.listener
  const texts = [
    ...failures.map(({ message }) => message),
    ...suspects.map(({ detail }) => detail),
    ...retirements,
  ]
  for (const text of texts) {
    assert.ok(text.length <= MESSAGE_MAX, `${what}: a message of ${text.length} characters`)
    assert.doesNotMatch(text, HARMFUL, what)
    assert.ok(text.isWellFormed(), what)
  }
}

/** The session after `frame`, and the least time that it took of some tries, in ms. */
function timed(fixture: Fixture, frame: Uint8Array): { run: Run; ms: number } {
  let run: Run
  let ms = Infinity
  for (let i = 0; i < 5 && ms > WITHIN_MS / 2; i++) {
    run = started(fixture)
    const used = process.cpuUsage()
    const begun = performance.now()
    run.session.received(frame, 1)
    const elapsed = performance.now() - begun
    const { user, system } = process.cpuUsage(used)
    // Of the two the one that other processes, or other threads of this one, have not added to.
    ms = Math.min(ms, elapsed, (user + system) / 1000)
  }
  return { run: run!, ms }
}

/** Every text in a JSON value, by the path to it. */
function* leaves(value: unknown, path: readonly (string | number)[] = []): Generator<
  readonly (string | number)[]
> {
  if (typeof value === 'string') yield path
  else if (Array.isArray(value)) {
    for (const [i, inner] of value.entries()) yield* leaves(inner, [...path, i])
  } else if (isRecord(value)) {
    for (const [key, inner] of Object.entries(value)) yield* leaves(inner, [...path, key])
  }
}

/** The JSON of `value` with `source` in place of what is at `path`. */
function replaced(value: unknown, path: readonly (string | number)[], source: string): string {
  const [key, ...rest] = path
  if (key === undefined) return source
  const parts = Array.isArray(value)
    ? value.map((inner, i) => i === key ? replaced(inner, rest, source) : JSON.stringify(inner))
    : Object.entries(value as object).map(([name, inner]) =>
      `${JSON.stringify(name)}:${
        name === key ? replaced(inner, rest, source) : JSON.stringify(inner)
      }`
    )
  return Array.isArray(value) ? `[${parts.join(',')}]` : `{${parts.join(',')}}`
}

/** One of each kind of whatever is no data, as JSON: of every shape, with the words in it. */
function talkOf(fixture: Fixture): unknown[] {
  const texts = fixture.errors.map(({ text }) => text)
  const decoder = new TextDecoder()
  const note = (frame: ModelFrame): ModelFrame[] => {
    if (frame.kind === 'control') texts.push(decoder.decode(frame.bytes))
    return [frame]
  }
  const run = started(fixture, { network: note })
  run.model.retire?.()
  run.model.unknown()
  run.model.delist?.(0)
  run.model.idle()
  run.settle()
  const talk = new Map<string, unknown>()
  for (const text of texts) {
    let message: unknown
    try {
      message = JSON.parse(text)
    } catch {
      continue
    }
    const shape = text.replaceAll(/\d+/g, '0')
    if (talk.size < 40) talk.set(shape, message)
  }
  return [...talk.values()]
}

export function textContract(fixture: Fixture): void {
  const { instruments } = fixture
  const encoder = new TextEncoder()

  test('an error text of 1 MB: as a short one, within 50 ms', { timeout: 120_000 }, () => {
    for (const { text, code, scope, index, quote } of fixture.errors) {
      for (const [name, hostile] of Object.entries(HOSTILE)) {
        const longer = text.replace(quote, () => `${quote} ${JSON.stringify(hostile).slice(1, -1)}`)
        assert.ok(longer.length > MB / 2, 'the quote is in it')
        const what = `${name} after ${quote}`
        const { run, ms } = timed(fixture, encoder.encode(longer))
        const [failure] = run.listener.failures
        assert.deepEqual([failure?.code, failure?.scope], [code, scope], what)
        if (index !== undefined) assert.equal(failure.symbol, instruments[index].symbol, what)
        assert.ok(failure.message.includes(quote), what)
        assertReadable(run, what)
        assert.ok(ms < WITHIN_MS, `${what}: ${ms.toFixed(1)} ms`)
      }
    }
  })

  test('whatever an exchange says, any text in it: no throw, short, printable, within 50 ms', {
    timeout: 120_000,
  }, () => {
    const talk = talkOf(fixture)
    assert.ok(talk.length > fixture.errors.length)
    const sources = [
      JSON.stringify(HOSTILE['lines']),
      JSON.stringify(HOSTILE['names without an end']),
      NESTED,
    ]
    for (const message of talk) {
      for (const path of leaves(message)) {
        for (const [i, source] of sources.entries()) {
          const { run, ms } = timed(fixture, encoder.encode(replaced(message, path, source)))
          const what = `${['lines', 'names', 'nested'][i]} at ${path.join('.')} of ` +
            JSON.stringify(message).slice(0, 120)
          assertReadable(run, what)
          assert.ok(ms < WITHIN_MS, `${what}: ${ms.toFixed(1)} ms`)
        }
      }
    }
  })
}
