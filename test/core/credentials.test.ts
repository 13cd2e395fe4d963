/** User and password of an address, wherever it stands. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { addressShown, withoutCredentials } from '../../src/core/credentials.ts'
import { ObfeedError } from '../../src/core/errors.ts'
import { foreignText } from '../../src/core/foreign-text.ts'

test('addresses in a text lose user and password, everything else stays', () => {
  for (
    const [text, shown] of [
      ['a@b.c and https://host/x@y', 'a@b.c and https://host/x@y'],
      ['at https://u:p@host/x: no', 'at https://***@host/x: no'],
      ['wss://token@host', 'wss://***@host'],
      ['http://u:p@ss@host', 'http://***@host'],
      ['http://u:p%40@h,http://v:q@h', 'http://***@h,http://***@h'],
      ['{"url":"wss://host","mail":"a@b"}', '{"url":"wss://host","mail":"a@b"}'],
    ] as const
  ) {
    assert.equal(withoutCredentials(text), shown)
    assert.equal(withoutCredentials(shown), shown)
  }
})

test('an address that could not be read is shown without what may be a secret', () => {
  assert.equal(addressShown('wss://u:p/q@host:x'), 'wss://***@host:x')
  assert.equal(addressShown('u:p@host:9092'), '***@host:9092')
  assert.equal(addressShown('wss://host/?key=1#2'), 'wss://host/?***')
  assert.equal(addressShown('host:9092'), 'host:9092')
})

test('errors and texts of others have none, also where they are cut', () => {
  const error = new ObfeedError('E_OS', 'no http://u:secret@host', { scope: 'agent' })
  assert.equal(error.message, 'no http://***@host')
  assert.equal((error.stack ?? '').includes('secret'), false)
  assert.equal(foreignText(`${'x'.repeat(485)} http://user:secret@host`).includes('user'), false)
})

test('a megabyte of what looks like addresses takes no time', () => {
  for (
    const text of ['://'.repeat(4e5), '://a'.repeat(3e5), `://${'a'.repeat(1e6)}`, '@'.repeat(1e6)]
  ) {
    const begun = performance.now()
    withoutCredentials(`${text} @`)
    assert.ok(performance.now() - begun < 500)
  }
})
