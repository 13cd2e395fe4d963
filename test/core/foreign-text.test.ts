/** The door for texts of others: short, on one line, printable, in time that does not grow. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import {
  FOREIGN_TEXT_MAX,
  foreignError,
  foreignText,
  printable,
} from '../../src/core/foreign-text.ts'

/** Whatever ends a line, moves a cursor or turns the direction of writing somewhere. */
// deno-lint-ignore no-control-regex
const HARMFUL = /[\x00-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff]/

test('what is printable stays as it is, in every script', () => {
  for (const text of ['', 'a "b" \\n c', 'Łódź', '币安人生/USDT', '👍🏽 ok', '\\u2028']) {
    assert.equal(foreignText(text), text)
  }
})

test('control characters, line separators and bidi marks are escaped, once', () => {
  const text = 'a\nb\r\n\tc\x1b[31m\x00\x7f\x85\u2028\u2029\u202e\u2066\ufeff'
  const shown = 'a\\nb\\r\\n\\tc\\u001b[31m\\u0000\\u007f\\u0085\\u2028\\u2029\\u202e\\u2066\\ufeff'
  assert.equal(foreignText(text), shown)
  assert.equal(foreignText(shown), shown, 'a second door changes nothing')
  assert.equal(printable('lone \ud83d'), 'lone \\ud83d')
})

test('any text: short, harmless, and the same behind a second door', () => {
  fc.assert(
    fc.property(fc.string({ unit: 'binary', maxLength: 1200 }), (text) => {
      const shown = foreignText(text)
      assert.ok(shown.length <= FOREIGN_TEXT_MAX + 1)
      assert.doesNotMatch(shown, HARMFUL)
      assert.ok(shown.isWellFormed())
      assert.equal(printable(shown), shown)
    }),
  )
})

test('a long text is cut where a character ends, and says so', () => {
  assert.equal(foreignText('x'.repeat(501)), 'x'.repeat(500) + '…')
  assert.equal(foreignText('x'.repeat(500)), 'x'.repeat(500))
  assert.equal(foreignText('x'.repeat(499) + '👍👍'), 'x'.repeat(499) + '…')
  assert.equal(foreignText('x'.repeat(497) + '\u2028more'), 'x'.repeat(497) + '…')
})

test('100 MB cost no more than 500 characters', () => {
  const text = '\u2028'.repeat(100_000_000)
  const started = performance.now()
  foreignText(text)
  assert.ok(performance.now() - started < 50)
})

test('an error speaks with its message and that of its cause', () => {
  const error = new Error('fetch failed', { cause: new Error('connect\nECONNREFUSED') })
  assert.equal(foreignError(error), 'fetch failed: connect\\nECONNREFUSED')
  assert.equal(foreignError('x\n'), 'x\\n')
})
