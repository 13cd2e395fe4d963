import { describe, test } from 'node:test'
import assert from 'node:assert/strict'
import { overrideEndpoint } from '../../src/core/endpoint.ts'
import { EXIT, ObfeedError } from '../../src/core/errors.ts'

describe('overrideEndpoint', () => {
  const cases: readonly (readonly [url: string, override: string | undefined, expected: string])[] =
    [
      ['wss://a.example', undefined, 'wss://a.example'],
      ['wss://a.example', 'ws://127.0.0.1:9000', 'ws://127.0.0.1:9000/'],
      ['wss://a.example', 'ws://127.0.0.1:9000/coinbase', 'ws://127.0.0.1:9000/coinbase'],
      ['wss://a.example/', 'ws://127.0.0.1:9000/coinbase/', 'ws://127.0.0.1:9000/coinbase'],
      ['wss://a.example:9443/ws/x@depth?b=1&c=%20', 'ws://h:1', 'ws://h:1/ws/x@depth?b=1&c=%20'],
      ['wss://a.example/v2?x=1', 'wss://h/one/two/', 'wss://h/one/two/v2?x=1'],
      ['wss://a.example?x=1', 'wss://h/one', 'wss://h/one?x=1'],
      [
        'https://a.example/api/v3/depth?limit=5',
        'http://[::1]:80',
        'http://[::1]/api/v3/depth?limit=5',
      ],
      ['https://a.example/api', 'https://user:secret@h:8443/p', 'https://user:secret@h:8443/p/api'],
    ]
  for (const [url, override, expected] of cases) {
    test(`${url} by ${override}`, () => assert.equal(overrideEndpoint(url, override), expected))
  }

  const wrong: readonly (readonly [url: string, override: string, says: RegExp])[] = [
    ['wss://a.example', '127.0.0.1:9000', /not an absolute URL/],
    ['wss://a.example', 'localhost:9000', /names no host.*ws:\/\/HOST:PORT/],
    ['wss://a.example', 'http://h:1', /scheme is http:.*ws:\/\/HOST:PORT/],
    ['https://a.example', 'ws://h:1', /scheme is ws:.*http:\/\/HOST:PORT/],
    ['wss://a.example', 'ws://h:1/?x=1', /query or fragment/],
    ['wss://a.example', 'ws://h:1/#x', /query or fragment/],
    ['wss://a.example', '', /not an absolute URL/],
  ]
  for (const [url, override, says] of wrong) {
    test(`refuses "${override}" for ${url}`, () => {
      assert.throws(() => overrideEndpoint(url, override), (error: unknown) => {
        assert.ok(error instanceof ObfeedError)
        assert.equal(error.exitCode, EXIT.config)
        assert.match(error.message, says)
        return true
      })
    })
  }
})
