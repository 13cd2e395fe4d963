/** Bybit's market metadata and volumes, in the shapes of its documentation, with ccxt as the judge. */
import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import type { Market } from '../../src/core/instrument.ts'
import { bybit } from '../../src/exchanges/bybit.ts'
import Ccxt from '../../node_modules/ccxt/js/src/bybit.js'

type Row = Record<string, unknown>

const source = bybit.markets!

function answer(category: string, list: readonly Row[], cursor?: string): unknown {
  return {
    retCode: 0,
    retMsg: 'OK',
    result: { category, list, ...(cursor === undefined ? {} : { nextPageCursor: cursor }) },
    retExtInfo: {},
    time: 1672712468011,
  }
}

function spot(symbol: string, base: string, quote: string, more: Row = {}): Row {
  return {
    symbol,
    baseCoin: base,
    quoteCoin: quote,
    innovation: '0',
    status: 'Trading',
    marginTrading: 'both',
    lotSizeFilter: {
      basePrecision: '0.000001',
      quotePrecision: '0.00000001',
      minOrderQty: '0.00004',
      maxOrderQty: '63.01197227',
      minOrderAmt: '1',
      maxOrderAmt: '100000',
    },
    priceFilter: { tickSize: '0.01' },
    ...more,
  }
}

function contract(
  symbol: string,
  contractType: string,
  base: string,
  quote: string,
  settle: string | undefined,
  more: Row = {},
): Row {
  return {
    symbol,
    contractType,
    status: 'Trading',
    baseCoin: base,
    quoteCoin: quote,
    launchTime: '1585526400000',
    deliveryTime: '0',
    deliveryFeeRate: '',
    priceScale: '2',
    leverageFilter: { minLeverage: '1', maxLeverage: '100.00', leverageStep: '0.01' },
    priceFilter: { minPrice: '0.50', maxPrice: '999999.00', tickSize: '0.50' },
    lotSizeFilter: { maxOrderQty: '100.000', minOrderQty: '0.001', qtyStep: '0.001' },
    unifiedMarginTrade: true,
    fundingInterval: 480,
    ...(settle === undefined ? {} : { settleCoin: settle }),
    ...more,
  }
}

const DECEMBER = String(Date.UTC(2026, 11, 25, 8))

const SPOT: readonly Row[] = [
  spot('BTCUSDT', 'BTC', 'USDT'),
  spot('SHIBUSDT', 'SHIB', 'USDT', {
    priceFilter: { tickSize: '0.0000000001' },
    lotSizeFilter: { basePrecision: '1' },
  }),
  spot('ODDUSDC', 'ODD', 'USDC', {
    priceFilter: { tickSize: '5' },
    lotSizeFilter: { basePrecision: '0.0025' },
  }),
  spot('NOTICKEUR', 'NOTICK', 'EUR', { priceFilter: {} }),
  spot('NOSTEPEUR', 'NOSTEP', 'EUR', { priceFilter: { tickSize: '' }, lotSizeFilter: {} }),
  spot('XBTEUR', 'XBT', 'EUR', { priceFilter: { tickSize: '0.10' } }),
  spot('BCHSVUSDT', 'BCHSV', 'USDT', { status: 'PreLaunch' }),
  spot('usdeUSDT', 'USDe', 'USDT'),
  spot('GONEUSDT', 'GONE', 'USDT', { status: 'Closed' }),
]

const LINEAR: readonly Row[] = [
  contract('BTCUSDT', 'LinearPerpetual', 'BTC', 'USDT', 'USDT'),
  contract('1000PEPEUSDT', 'LinearPerpetual', '1000PEPE', 'USDT', 'USDT', {
    priceFilter: { tickSize: '0.0000001' },
    lotSizeFilter: { qtyStep: '100' },
  }),
  contract('BTCPERP', 'LinearPerpetual', 'BTC', 'USDC', 'USDC'),
  contract('OLDPERP', 'LinearPerpetual', 'OLD', 'USD', 'USD'),
  contract('NOSETTLEUSDT', 'LinearPerpetual', 'NOSETTLE', 'USDT', undefined),
  // Its delisting, no expiry.
  contract('ENDSUSDT', 'LinearPerpetual', 'ENDS', 'USDT', 'USDT', { deliveryTime: DECEMBER }),
  contract('BTC-25DEC26', 'LinearFutures', 'BTC', 'USDC', 'USDC', { deliveryTime: DECEMBER }),
  contract('BTCUSDT-25DEC26', 'LinearFutures', 'BTC', 'USDT', 'USDT', { deliveryTime: DECEMBER }),
  contract('ENDEDUSDT', 'LinearPerpetual', 'ENDED', 'USDT', 'USDT', { status: 'Settling' }),
]
const LINEAR_SOON: readonly Row[] = [
  contract('SOONUSDT', 'LinearPerpetual', 'SOON', 'USDT', 'USDT', { status: 'PreLaunch' }),
]
const INVERSE: readonly Row[] = [
  contract('BTCUSD', 'InversePerpetual', 'BTC', 'USD', 'BTC', { lotSizeFilter: { qtyStep: '1' } }),
  contract('ETHUSD', 'InversePerpetual', 'ETH', 'USD', undefined, { priceFilter: {} }),
  contract('BTCUSDZ26', 'InverseFutures', 'BTC', 'USD', 'BTC', { deliveryTime: DECEMBER }),
]

const ANSWERS: readonly unknown[] = [
  answer('spot', SPOT),
  answer('linear', LINEAR, ''),
  answer('linear', LINEAR_SOON, ''),
  answer('inverse', INVERSE, ''),
  answer('inverse', [], ''),
]

/** 0.01 -> 2, 100 -> 0. */
function decimalsOf(step: number | undefined): number {
  if (step === undefined) return 8
  const [digits, exponent] = step.toExponential().split('e') as [string, string]
  const fraction = digits.includes('.') ? digits.length - 2 : 0
  return Math.max(0, fraction - Number(exponent))
}

/** What ccxt makes of the same answers; `pages` are those behind a cursor. */
async function judged(
  answers: readonly unknown[],
  pages: Readonly<Record<string, unknown>> = {},
): Promise<Market[]> {
  const asked: string[] = []
  const client = new Ccxt({ enableRateLimit: false }) as unknown as {
    options: Record<string, unknown>
    fetch: (url: string) => Promise<unknown>
    fetchMarkets: () => Promise<
      {
        id: string
        symbol: string
        active: boolean
        precision: { price: number | undefined; amount: number | undefined }
      }[]
    >
  }
  client.options['fetchMarkets'] = { types: ['spot', 'linear', 'inverse'] }
  const byUrl = new Map(source.urls.map((url, at) => [keyOf(url), answers[at]]))
  client.fetch = (url) => {
    asked.push(keyOf(url))
    const cursor = new URL(url).searchParams.get('cursor')
    const found = cursor === null ? byUrl.get(keyOf(url)) : pages[cursor]
    assert.ok(found !== undefined, `nothing is known of ${url}`)
    return Promise.resolve(structuredClone(found))
  }
  const markets = await client.fetchMarkets()
  if (Object.keys(pages).length === 0) {
    assert.deepEqual([...asked].sort(), [...byUrl.keys()].sort(), 'it asks what we ask')
  }
  return markets.map(({ id, symbol, active, precision }) => ({
    symbol,
    wireSymbol: id,
    priceDecimals: decimalsOf(precision.price),
    sizeDecimals: decimalsOf(precision.amount),
    active,
  }))
}

/** Each answer the only page of its list. */
function parse(answers: readonly unknown[]): Market[] | undefined {
  return source.parse(answers.map((answer) => [answer]))
}

/** What a request is about, in any order of its parameters. */
function keyOf(url: string): string {
  const { host, pathname, searchParams } = new URL(url)
  const of = (name: string) => searchParams.get(name) ?? ''
  return `${host}${pathname} ${of('category')} ${of('limit')} ${of('status')}`
}

describe('markets', () => {
  test('are read as ccxt reads them, market by market', async () => {
    const native = parse(ANSWERS)
    assert.deepEqual(native, await judged(ANSWERS))
    assert.equal(native!.length, SPOT.length + LINEAR.length + 1 + INVERSE.length)
  })

  test('symbols, steps and states', () => {
    const markets = parse(ANSWERS)!
    const row = (symbol: string) => {
      const market = markets.find((one) => one.symbol === symbol)
      assert.ok(market !== undefined, symbol)
      const { wireSymbol, priceDecimals, sizeDecimals, active } = market
      return [wireSymbol, priceDecimals, sizeDecimals, active]
    }
    assert.deepEqual(row('BTC/USDT'), ['BTCUSDT', 2, 6, true])
    assert.deepEqual(row('BTC/USDT:USDT'), ['BTCUSDT', 1, 3, true])
    assert.deepEqual(row('BTC/USDC:USDC'), ['BTCPERP', 1, 3, true])
    assert.deepEqual(row('BTC/USDC:USDC-261225'), ['BTC-25DEC26', 1, 3, true])
    assert.deepEqual(row('BTC/USD:BTC'), ['BTCUSD', 1, 0, true])
    assert.deepEqual(row('BTC/USD:BTC-261225'), ['BTCUSDZ26', 1, 3, true])
    assert.deepEqual(row('SHIB/USDT'), ['SHIBUSDT', 10, 0, true])
    assert.deepEqual(row('1000PEPE/USDT:USDT'), ['1000PEPEUSDT', 7, 0, true])
    assert.deepEqual(row('ODD/USDC'), ['ODDUSDC', 0, 4, true])
    assert.deepEqual(row('NOTICK/EUR'), ['NOTICKEUR', 8, 6, true])
    assert.deepEqual(row('ENDS/USDT:USDT'), ['ENDSUSDT', 1, 3, true])
    for (const symbol of ['GONE/USDT', 'BSV/USDT', 'SOON/USDT:USDT', 'ENDED/USDT:USDT']) {
      assert.equal(row(symbol)[3], false, symbol)
    }
    // Where the unified symbol says which segment serves it.
    const segments = markets.map((market) => bybit.segment!(market))
    assert.deepEqual(segments, [
      ...SPOT.map(() => 'spot'),
      ...LINEAR.map(() => 'linear'),
      'linear',
      ...INVERSE.map(() => 'inverse'),
    ])
  })

  test('a list that goes on on further pages is read to its end', () => {
    const cursor = 'first%3D1%26last%3D2'
    const first = answer('linear', LINEAR.slice(0, 4), cursor)
    assert.equal(source.next!(first), `&cursor=${cursor}`)
    const last = answer('linear', LINEAR.slice(4), '')
    for (const answer of [last, ANSWERS[0], undefined, {}, { result: 7 }]) {
      assert.equal(source.next!(answer), undefined)
    }
    const answers: unknown[][] = ANSWERS.map((one) => [one])
    assert.deepEqual(source.parse(answers.with(1, [first, last])), parse(ANSWERS))
    assert.equal(source.parse(answers.with(1, [first, { result: null }])), undefined)
  })

  test('answers of another shape are none', () => {
    const broken: unknown[] = [
      undefined,
      null,
      [],
      {},
      { retCode: 10006, retMsg: 'Too many visits!', result: {} },
      { result: null },
      { result: { list: {} } },
      answer('spot', [null as unknown as Row]),
      answer('spot', [{ ...SPOT[0], symbol: 7 }]),
      answer('spot', [{ ...SPOT[0], baseCoin: undefined }]),
      answer('spot', [{ ...SPOT[0], quoteCoin: null }]),
    ]
    for (const one of broken) {
      for (const at of ANSWERS.keys()) {
        assert.equal(parse(ANSWERS.with(at, one)), undefined, JSON.stringify(one))
      }
    }
    for (const deliveryTime of ['soon', '-5', '1e300']) {
      const row = contract('A', 'LinearFutures', 'A', 'USDT', 'USDT', { deliveryTime })
      assert.equal(parse(ANSWERS.with(1, answer('linear', [row]))), undefined)
    }
    assert.equal(parse(ANSWERS.slice(0, 4)), undefined)
  })
})

describe('volumes', () => {
  const volumes = bybit.volumes!
  const ticker = (symbol: string, volume24h: string, turnover24h: string): Row => ({
    symbol,
    lastPrice: '78856.05',
    highPrice24h: '79000',
    volume24h,
    turnover24h,
  })
  const answers = [
    answer('spot', [ticker('BTCUSDT', '6780', '141903890.4'), ticker('SHIBUSDT', '1', '')]),
    answer('linear', [ticker('BTCUSDT', '73523', '1541231243.8'), ticker('BTCPERP', '9', '70')]),
    answer('inverse', [ticker('BTCUSD', '49337318', '2352.94950046')]),
  ]

  test('of the last day in the quote currency, segment by segment', () => {
    assert.equal(volumes.urls.length, answers.length)
    const markets = parse(ANSWERS)!
    const found = volumes.parse(answers, markets)!
    assert.equal(found.size, markets.length)
    assert.equal(found.get('BTC/USDT'), 141903890.4)
    assert.equal(found.get('BTC/USDT:USDT'), 1541231243.8)
    assert.equal(found.get('BTC/USDC:USDC'), 70)
    assert.equal(found.get('BTC/USD:BTC'), 49337318, 'contracts of one USD')
    assert.equal(found.get('SHIB/USDT'), 0)
    assert.equal(found.get('ODD/USDC'), 0, 'not listed')
  })

  test('answers of another shape are none', () => {
    const markets = parse(ANSWERS)!
    for (const one of [undefined, null, {}, { result: {} }, answer('spot', [7 as never])]) {
      for (const at of answers.keys()) {
        assert.equal(volumes.parse(answers.with(at, one), markets), undefined)
      }
    }
  })
})
