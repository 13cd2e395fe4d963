/** OKX: instruments as ccxt reads them from the same answers, and what is traded of each. */
import assert from 'node:assert/strict'
import { existsSync, readFileSync } from 'node:fs'
import { resolve } from 'node:path'
import { describe, test } from 'node:test'
import Okx from '../../node_modules/ccxt/js/src/okx.js'
import type { Market } from '../../src/core/instrument.ts'
import { okx } from '../../src/exchanges/okx.ts'

const RECORDING = resolve(
  import.meta.dirname!,
  '../../../shared/recordings/okx/books-20220513.markets.json',
)

type Fields = Readonly<Record<string, unknown>>

interface Answers {
  readonly SPOT: readonly Fields[]
  readonly FUTURES: readonly Fields[]
  readonly SWAP: readonly Fields[]
}

/** An instrument as the exchange lists it. */
function listed(instType: string, instId: string, more: Fields = {}): Fields {
  const [base, quote] = instId.split('-')
  const isSpot = instType === 'SPOT'
  return {
    alias: '',
    baseCcy: isSpot ? base : '',
    category: '1',
    ctMult: isSpot ? '' : '1',
    ctType: isSpot ? '' : 'linear',
    ctVal: isSpot ? '' : '0.01',
    ctValCcy: isSpot ? '' : base,
    expTime: '',
    instFamily: isSpot ? '' : `${base}-${quote}`,
    instId,
    instType,
    lever: '10',
    listTime: '1548133413000',
    lotSz: isSpot ? '0.00000001' : '0.01',
    minSz: '0.00001',
    quoteCcy: isSpot ? quote : '',
    ruleType: 'normal',
    settleCcy: isSpot ? '' : quote,
    state: 'live',
    stk: '',
    tickSz: '0.1',
    uly: isSpot ? '' : `${base}-${quote}`,
    ...more,
  }
}

const ANSWERS: Answers = {
  SPOT: [
    listed('SPOT', 'BTC-USDT'),
    listed('SPOT', 'SHIB-USDT', { tickSz: '0.000000001', lotSz: '1' }),
    listed('SPOT', 'ODD-EUR', { tickSz: '5', lotSz: '0.0025' }),
    listed('SPOT', 'TINY-USDT', { tickSz: '0.00000000000001', lotSz: '100000' }),
    listed('SPOT', 'NONE-USDT', { tickSz: '', lotSz: '0' }),
    listed('SPOT', 'HALT-USDT', { state: 'suspend' }),
    listed('SPOT', 'NEW-USDT', { state: 'preopen', baseCcy: '', quoteCcy: '' }),
    listed('SPOT', 'HALF-USDT', { quoteCcy: '' }),
    listed('SPOT', 'ODDNAME', { baseCcy: '', quoteCcy: '' }),
    listed('SPOT', 'AE-BTC'),
    listed('SPOT', 'XBT-BCHSV'),
    listed('SPOT', 'low-usdt'),
    { instId: '', instType: 'SPOT', state: 'preopen' },
  ],
  FUTURES: [
    listed('FUTURES', 'BTC-USD-261225', {
      ctType: 'inverse',
      ctVal: '100',
      expTime: '1798185600000',
      settleCcy: 'BTC',
      lotSz: '1',
    }),
    listed('FUTURES', 'ETH-USDT-270101', { expTime: '1798790399999', tickSz: '0.01' }),
    listed('FUTURES', 'ETH-USDT-NODATE', { state: 'expired' }),
  ],
  SWAP: [
    listed('SWAP', 'BTC-USDT-SWAP'),
    listed('SWAP', 'BTC-USD-SWAP', { ctType: 'inverse', settleCcy: 'BTC', lotSz: '1' }),
    listed('SWAP', 'ETH-USD_UM-SWAP', { uly: 'ETH-USD_UM', settleCcy: 'USDC' }),
    { instId: 'SOL-USD_UM-SWAP', instType: 'SWAP', state: 'preopen' },
    listed('SWAP', 'X-USDT-SWAP', { uly: '', state: 'preopen', tickSz: '', lotSz: '' }),
    listed('SWAP', 'SATS-USDT-SWAP', { tickSz: '0.00000000000001', lotSz: '0.1' }),
  ],
}

const answer = (data: readonly Fields[]) => ({ code: '0', data, msg: '' })

function read(answers: Answers): Market[] | undefined {
  return okx.markets!.parse(
    okx.markets!.urls.map((url) => {
      const type = new URL(url).searchParams.get('instType') as keyof Answers
      return JSON.parse(JSON.stringify(answer(answers[type])))
    }),
  )
}

/** 0.01 -> 2, 1e-8 -> 8, 5 -> 0. */
function places(step: number | undefined): number {
  if (step === undefined || !(step > 0)) return 8
  const [digits, exponent] = step.toExponential().split('e')
  return Math.max(0, (digits.split('.')[1]?.length ?? 0) - Number(exponent))
}

/** What ccxt makes of the same answers. */
async function judged(answers: Answers): Promise<Market[]> {
  const client = new Okx({ enableRateLimit: false })
  const asked: string[] = []
  client.fetch = (url: string) => {
    const type = new URL(url).searchParams.get('instType') ?? ''
    asked.push(type)
    return Promise.resolve(answer(answers[type as keyof Answers] ?? []))
  }
  interface Unified {
    readonly id: string
    readonly symbol: string
    readonly active: boolean
    readonly precision: { readonly price?: number; readonly amount?: number }
  }
  const markets = await client.fetchMarkets() as unknown as Unified[]
  assert.deepEqual([...new Set(asked)].sort(), ['FUTURES', 'OPTION', 'SPOT', 'SWAP'])
  return markets.map(({ id, symbol, active, precision }) => ({
    symbol,
    wireSymbol: id,
    priceDecimals: places(precision.price),
    sizeDecimals: places(precision.amount),
    active,
  }))
}

describe('markets', () => {
  test('are read as ccxt reads them, in its order', async () => {
    const markets = read(ANSWERS)
    assert.deepEqual(markets, await judged(ANSWERS))
    const row = (wireSymbol: string): unknown[] => {
      const market = markets!.find((one) => one.wireSymbol === wireSymbol)!
      return [market.symbol, market.priceDecimals, market.sizeDecimals, market.active]
    }
    assert.equal(markets!.length, 12 + 3 + 6)
    assert.deepEqual(row('BTC-USDT'), ['BTC/USDT', 1, 8, true])
    assert.deepEqual(row('BTC-USDT-SWAP'), ['BTC/USDT:USDT', 1, 2, true])
    assert.deepEqual(row('BTC-USD-SWAP'), ['BTC/USD:BTC', 1, 0, true])
    assert.deepEqual(row('BTC-USD-261225'), ['BTC/USD:BTC-261225', 1, 0, true])
    assert.deepEqual(row('ETH-USDT-270101'), ['ETH/USDT:USDT-270101', 2, 2, true])
    assert.deepEqual(row('HALT-USDT'), ['HALT/USDT', 1, 8, false])
    assert.deepEqual(row('NEW-USDT'), ['NEW/USDT', 1, 8, false])
    assert.deepEqual(row('AE-BTC')[0], 'AET/BTC')
  })

  test('recorded ones too', { skip: !existsSync(RECORDING) }, async () => {
    const recorded = JSON.parse(readFileSync(RECORDING, 'utf8')) as {
      url: string
      body: { data: Fields[] }
    }[]
    const of = (type: string) => recorded.find(({ url }) => url.endsWith(type))!.body.data
    const answers = { SPOT: of('SPOT'), FUTURES: of('FUTURES'), SWAP: of('SWAP') }
    const markets = read(answers)
    assert.deepEqual(markets, await judged(answers))
    assert.deepEqual(markets!.map(({ symbol }) => symbol), [
      'BTC/USDT',
      'BTC/USD:BTC-220527',
      'UNI/USD:UNI',
    ])
  })

  test('an answer of another shape is not guessed at', () => {
    const shapes = [null, {}, { data: {} }, { code: '50011', msg: 'Too Many Requests' }, 'x']
    for (const shape of [...shapes, answer([{ instId: 'A-B', instType: 'BOND' }])]) {
      for (let at = 0; at < 3; at++) {
        const answers = [0, 1, 2].map((i) => i === at ? shape : answer([]))
        assert.equal(okx.markets!.parse(answers), undefined)
      }
    }
    assert.equal(okx.markets!.parse([answer([]), answer([])])?.length, 0)
    assert.deepEqual(okx.markets!.parse([{ data: [null, 7, {}] }]), [])
  })
})

describe('volumes', () => {
  const ticker = (instType: string, instId: string, last: unknown, volCcy24h: unknown) => ({
    instType,
    instId,
    last,
    vol24h: '7',
    volCcy24h,
  })

  test('are in the quote currency, whatever the exchange counts them in', () => {
    assert.equal(okx.volumes!.urls.length, 3)
    const markets = read(ANSWERS)!
    const volumes = okx.volumes!.parse([
      answer([
        ticker('SPOT', 'BTC-USDT', '31500.1', '503403597.38'),
        ticker('SPOT', 'NEW-USDT', '', ''),
        ticker('SPOT', 'UNLISTED-USDT', '1', '1'),
      ]),
      answer([ticker('FUTURES', 'BTC-USD-261225', '30000', '12.5')]),
      answer([
        ticker('SWAP', 'BTC-USDT-SWAP', '30000', '241207.5'),
        ticker('SWAP', 'X-USDT-SWAP', undefined, 'x'),
        { instId: '' },
      ]),
    ], markets)!
    assert.deepEqual([...volumes.keys()], markets.map(({ symbol }) => symbol))
    assert.deepEqual([...volumes].filter(([, volume]) => volume !== 0), [
      ['BTC/USDT', 503403597.38],
      ['BTC/USD:BTC-261225', 375_000],
      ['BTC/USDT:USDT', 7_236_225_000],
    ])
  })

  test('an answer of another shape is not guessed at', () => {
    for (const shape of [null, {}, { data: 7 }, []]) {
      assert.equal(okx.volumes!.parse([answer([]), shape], []), undefined)
    }
  })
})
