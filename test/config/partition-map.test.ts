/** The partition map: every refusal once, with line and column, all of them in one report. */
import { describe, test } from 'node:test'
import assert from 'node:assert/strict'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import fc from 'fast-check'
import { parsePartitionMap, readPartitionMap, resolveMap } from '../../src/config/partition-map.ts'
import { ObfeedError } from '../../src/core/errors.ts'
import type { Adapter } from '../../src/exchanges/adapter.ts'
import type { Market } from '../../src/core/instrument.ts'

function problems(action: () => unknown): string[] {
  try {
    action()
  } catch (error) {
    assert.ok(error instanceof ObfeedError, String(error))
    assert.equal(error.exitCode, 78)
    assert.equal(error.code, 'E_CONFIG')
    return error.message.split('\n')
  }
  return []
}

function refused(text: string): string[] {
  return problems(() => parsePartitionMap('map.json', text))
}

describe('parsePartitionMap', () => {
  test('reads any map in the order of the file', () => {
    const map = fc.uniqueArray(
      fc.record({
        symbol: fc.stringMatching(/^[A-Z]{1,6}\/[A-Z]{3}$/),
        partition: fc.nat(100_000),
      }),
      { selector: ({ symbol }) => symbol, minLength: 1 },
    )
    fc.assert(fc.property(map, (entries) => {
      const text = `{\n${
        entries.map(({ symbol, partition }) => `  "${symbol}": ${partition}`).join(',\n')
      }\n}`
      assert.deepEqual(
        parsePartitionMap('map.json', text).entries,
        entries.map((entry, i) => ({ ...entry, line: i + 2, column: 3 })),
      )
    }))
  })

  test('lets symbols share a partition', () => {
    const { entries } = parsePartitionMap('m', '{"A/B": 3, "C/D": 3}')
    assert.deepEqual(entries.map(({ partition }) => partition), [3, 3])
  })

  const SHAPE = 'expected an object {"ETH/USD": 0, ...}: symbol -> partition'
  const cases: readonly [what: string, text: string, problems: string[]][] = [
    ['what is not JSON', '{"ETH/USD": 0', [
      'map.json:1:14: found the end of the file, expected "," or "}"',
    ]],
    ['what is no object', '\n["ETH/USD"]', [`map.json:2:1: was a list, ${SHAPE}`]],
    ['an empty map', '{}', [`map.json:1:1: the map is empty, ${SHAPE}; add a symbol`]],
    ['a fraction', '{"ETH/USD": 1.5}', [
      'map.json:1:13: partition of "ETH/USD" was 1.5, expected an integer from 0 to 100000',
    ]],
    ['a string', '{"ETH/USD": "0"}', [
      'map.json:1:13: partition of "ETH/USD" was "0", expected an integer from 0 to 100000',
    ]],
    ['a negative partition', '{"ETH/USD": -1}', [
      'map.json:1:13: partition of "ETH/USD" was -1, expected 0 or more; partitions count from 0',
    ]],
    ['an absurd partition', '{"ETH/USD": 100001}', [
      'map.json:1:13: partition of "ETH/USD" was 100001, expected at most 100000; correct the number',
    ]],
    ['a duplicate key', '{"ETH/USD": 0,\n "ETH/USD": 1}', [
      'map.json:2:2: "ETH/USD" stands a second time, first in line 1; remove one',
    ]],
    ['an empty symbol', '{"": 0}', [
      'map.json:1:2: the symbol "" is empty, expected a unified symbol such as "ETH/USD"',
    ]],
    ['a symbol with spaces', '{"ETH/USD ": 0}', [
      'map.json:1:2: the symbol "ETH/USD " has spaces around it, expected a unified symbol such ' +
      'as "ETH/USD"',
    ]],
    ['everything at once, in the order of the file', '{"A/B": -1,\n"A/B": null,\n"C/D": 1e9}', [
      'map.json:1:9: partition of "A/B" was -1, expected 0 or more; partitions count from 0',
      'map.json:2:1: "A/B" stands a second time, first in line 1; remove one',
      'map.json:2:8: partition of "A/B" was null, expected an integer from 0 to 100000',
      'map.json:3:8: partition of "C/D" was 1e9, expected at most 100000; correct the number',
    ]],
  ]
  for (const [what, text, expected] of cases) {
    test(`refuses ${what}`, () => assert.deepEqual(refused(text), expected))
  }

  test('refuses a missing file, exit 66', () => {
    assert.throws(() => readPartitionMap('/nonexistent/map.json'), {
      exitCode: 66,
      message: '/nonexistent/map.json: no such file, expected a partition map; create it or ' +
        'correct the path',
    })
  })
})

const market = (symbol: string, more: Partial<Market> = {}): Market => ({
  symbol,
  wireSymbol: symbol.replace('/', '-'),
  priceDecimals: 2,
  sizeDecimals: 8,
  active: true,
  ...more,
})

const markets: readonly Market[] = [
  market('BTC/USD'),
  market('BTC/USDC', { aliasOf: 'BTC-USD' }),
  market('BTC/USDT'),
  market('ETH/USD'),
  market('ETH/EUR'),
  market('LUNA/USD', { active: false }),
  market('USDT/USD'),
]

const adapter: Pick<Adapter, 'exchange' | 'canonical'> = { exchange: 'coinbase' }

function resolve(text: string, canonical?: (wireSymbol: string) => string): unknown {
  const map = parsePartitionMap('map.json', text)
  return resolveMap(map, markets, { ...adapter, ...(canonical && { canonical }) } as Adapter)
    .symbols
}

/** As `run` does, with what was known when the map was used last. */
function lenient(text: string, ...known: string[]) {
  const map = parsePartitionMap('map.json', text)
  const options = { isStrict: false, known: new Set(known) }
  return resolveMap(map, markets, adapter as Adapter, options)
}

describe('resolveMap', () => {
  test('adds what the exchange says of each market', () => {
    assert.deepEqual(resolve('{"ETH/EUR": 4, "BTC/USDC": 1}'), [
      {
        symbol: 'ETH/EUR',
        wireSymbol: 'ETH-EUR',
        priceDecimals: 2,
        sizeDecimals: 8,
        partition: 4,
      },
      {
        symbol: 'BTC/USDC',
        wireSymbol: 'BTC-USDC',
        priceDecimals: 2,
        sizeDecimals: 8,
        partition: 1,
      },
    ])
  })

  test('names the nearest of an unknown symbol', () => {
    const hint = (symbol: string): string =>
      /nearest: ([^;]*)/.exec(problems(() => resolve(`{"${symbol}": 0}`))[0]!)?.[1] ?? ''
    assert.equal(hint('ETH-USD'), 'ETH/USD, ETH/EUR, BTC/USD')
    assert.match(hint('btc/usd'), /^BTC\/USD\b/)
    assert.match(hint('ETHUSD'), /^ETH\/USD\b/)
    assert.match(hint('ETH/UDS'), /^ETH\/USD\b/)
    assert.equal(hint('WHATEVER/NOTHING'), '')
  })

  test('a file in another encoding is named with it', () => {
    const folder = mkdtempSync(join(tmpdir(), 'obfeed-map-'))
    const path = join(folder, 'map.json')
    const text = '{"BTC/USD": 0}'
    const wide = (bom: number[], littleEndian: boolean) =>
      Uint8Array.from([
        ...bom,
        ...[...text].flatMap((c) => littleEndian ? [c.charCodeAt(0), 0] : [0, c.charCodeAt(0)]),
      ])
    try {
      for (
        const [bytes, found] of [
          [wide([0xff, 0xfe], true), 'UTF-16LE'],
          [wide([0xfe, 0xff], false), 'UTF-16BE'],
          [wide([], true), 'UTF-16LE'],
          [wide([], false), 'UTF-16BE'],
          [Uint8Array.from([0xff, 0xfe, 0, 0, 0x7b, 0, 0, 0]), 'UTF-32LE'],
          [Uint8Array.from([0x7b, 0x22, 0xe4, 0x22]), 'not UTF-8'],
        ] as const
      ) {
        writeFileSync(path, bytes)
        const [message] = problems(() => readPartitionMap(path))
        assert.ok(message?.startsWith(`${path}: is ${found}, expected UTF-8; convert it: iconv`))
      }
      writeFileSync(path, `\ufeff{"币安人生/USDT": 0}`)
      assert.equal(readPartitionMap(path).entries[0]!.symbol, '币安人生/USDT')
    } finally {
      rmSync(folder, { recursive: true })
    }
  })

  test('refuses unknown, inactive and twice named markets in one report', () => {
    const text = `{
  "XYZW/QQQ": 0,
  "LUNA/USD": 1,
  "BTC/USD": 2,
  "BTC/USDC": 3
}`
    assert.deepEqual(problems(() => resolve(text)), [
      'map.json:2:3: "XYZW/QQQ" is no market of coinbase; correct the symbol or remove it',
      'map.json:3:3: "LUNA/USD" is not traded on coinbase at present (market inactive); remove it',
      'map.json:5:3: "BTC/USDC" is the same market as "BTC/USD" in line 4, expected each market ' +
      'once; remove one',
    ])
  })

  test('the others start without one that is not traded, or is listed no more', () => {
    const text = '{"BTC/USD": 2, "LUNA/USD": 1, "FTT/USD": 3}'
    const { symbols, dormant } = lenient(text, 'FTT/USD', 'BTC/USD')
    assert.deepEqual(symbols.map(({ symbol }) => symbol), ['BTC/USD'])
    assert.deepEqual(dormant.map(({ symbol, partition, reason }) => [symbol, partition, reason]), [
      ['LUNA/USD', 1, 'not traded at present'],
      ['FTT/USD', 3, 'no market any more'],
    ])
    assert.match(problems(() => lenient(text)).join(), /"FTT\/USD" is no market of coinbase/)
  })

  test("asks the adapter when the exchange's list names no alias", () => {
    const same = (wireSymbol: string): string => wireSymbol.replace(/USDT$/, 'USD')
    assert.deepEqual(problems(() => resolve('{"BTC/USDT": 0, "BTC/USD": 1}', same)), [
      'map.json:1:17: "BTC/USD" is the same market as "BTC/USDT" in line 1, expected each market ' +
      'once; remove one',
    ])
  })
})
