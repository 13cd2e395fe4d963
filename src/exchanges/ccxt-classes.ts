/**
 * Every exchange whose order book ccxt 4.5.84 can watch, and what is known of how it does that. The
 * imports are literal, one class each, so that the bundler sees them and a worker loads only one.
 */

export interface CcxtClass {
  readonly load: () => Promise<{ readonly default: unknown }>
  /** `watchOrderBookForSymbols` subscribes several symbols with one message. */
  readonly batches?: true
  /** Levels a side that can be asked for. */
  readonly depths?: readonly number[]
  /** Levels a side that are sent, where that cannot be chosen. Neither: not known to be limited. */
  readonly levels?: number
  /** Parameters beyond the symbol: without them the exchange sends something else than its book. */
  readonly params?: Readonly<Record<string, string>>
  /** ccxt stores the levels of a snapshot one by one; elsewhere only a reset makes a book whole. */
  readonly stores?: true
  /** More of a market is needed than its names: the worker asks the exchange for its markets. */
  readonly loadsMarkets?: true
  /** The exchange sends no delete for what leaves the depth that was asked for. */
  readonly truncates?: true
  /** The snapshot on the socket ends before the book does. */
  readonly finite?: true
  /** It does not work, and why. */
  readonly refused?: string
}

const KEYS = 'ccxt signs in before it subscribes the book: API keys are needed, and obfeed has none'

export const ccxtClasses: Readonly<Record<string, CcxtClass>> = {
  alpaca: {
    load: () => import('../../node_modules/ccxt/js/src/pro/alpaca.js'),
    refused: KEYS,
  },
  apex: {
    load: () => import('../../node_modules/ccxt/js/src/pro/apex.js'),
    batches: true,
    depths: [25, 200],
    loadsMarkets: true,
  },
  aster: {
    load: () => import('../../node_modules/ccxt/js/src/pro/aster.js'),
    batches: true,
    depths: [5, 10, 20],
  },
  backpack: {
    load: () => import('../../node_modules/ccxt/js/src/pro/backpack.js'),
    batches: true,
  },
  bequant: {
    load: () => import('../../node_modules/ccxt/js/src/pro/bequant.js'),
  },
  binance: {
    load: () => import('../../node_modules/ccxt/js/src/pro/binance.js'),
    batches: true,
  },
  binancecoinm: {
    load: () => import('../../node_modules/ccxt/js/src/pro/binancecoinm.js'),
    batches: true,
  },
  binanceus: {
    load: () => import('../../node_modules/ccxt/js/src/pro/binanceus.js'),
    batches: true,
  },
  binanceusdm: {
    load: () => import('../../node_modules/ccxt/js/src/pro/binanceusdm.js'),
    batches: true,
  },
  bingx: {
    load: () => import('../../node_modules/ccxt/js/src/pro/bingx.js'),
    levels: 100,
  },
  bitfinex: {
    load: () => import('../../node_modules/ccxt/js/src/pro/bitfinex.js'),
    depths: [25, 100],
    stores: true,
  },
  bitget: {
    load: () => import('../../node_modules/ccxt/js/src/pro/bitget.js'),
    batches: true,
    stores: true,
  },
  bithumb: {
    load: () => import('../../node_modules/ccxt/js/src/pro/bithumb.js'),
  },
  bitopro: {
    load: () => import('../../node_modules/ccxt/js/src/pro/bitopro.js'),
  },
  bitrue: {
    load: () => import('../../node_modules/ccxt/js/src/pro/bitrue.js'),
    loadsMarkets: true,
  },
  bitstamp: {
    load: () => import('../../node_modules/ccxt/js/src/pro/bitstamp.js'),
  },
  bittrade: {
    load: () => import('../../node_modules/ccxt/js/src/pro/bittrade.js'),
    levels: 150,
  },
  bitvavo: {
    load: () => import('../../node_modules/ccxt/js/src/pro/bitvavo.js'),
    batches: true,
    finite: true,
  },
  blockchaincom: {
    load: () => import('../../node_modules/ccxt/js/src/pro/blockchaincom.js'),
  },
  blofin: {
    load: () => import('../../node_modules/ccxt/js/src/pro/blofin.js'),
    batches: true,
  },
  bullish: {
    load: () => import('../../node_modules/ccxt/js/src/pro/bullish.js'),
  },
  bybit: {
    load: () => import('../../node_modules/ccxt/js/src/pro/bybit.js'),
    batches: true,
    depths: [1, 50, 200, 1000],
  },
  bybiteu: {
    load: () => import('../../node_modules/ccxt/js/src/pro/bybiteu.js'),
    batches: true,
    depths: [1, 50, 200, 1000],
  },
  bybitid: {
    load: () => import('../../node_modules/ccxt/js/src/pro/bybitid.js'),
    batches: true,
    depths: [1, 50, 200, 1000],
  },
  bydfi: {
    load: () => import('../../node_modules/ccxt/js/src/pro/bydfi.js'),
    batches: true,
    levels: 100,
  },
  cex: {
    load: () => import('../../node_modules/ccxt/js/src/pro/cex.js'),
    refused: KEYS,
  },
  coinbase: {
    load: () => import('../../node_modules/ccxt/js/src/pro/coinbase.js'),
    batches: true,
    stores: true,
  },
  coinbaseexchange: {
    load: () => import('../../node_modules/ccxt/js/src/pro/coinbaseexchange.js'),
    refused: KEYS,
  },
  coinbaseinternational: {
    load: () => import('../../node_modules/ccxt/js/src/pro/coinbaseinternational.js'),
    refused: KEYS,
  },
  coincheck: {
    load: () => import('../../node_modules/ccxt/js/src/pro/coincheck.js'),
    refused: 'ccxt takes the changes that Coincheck sends for whole books',
  },
  coinex: {
    load: () => import('../../node_modules/ccxt/js/src/pro/coinex.js'),
    batches: true,
    depths: [5, 10, 20, 50],
  },
  coinone: {
    load: () => import('../../node_modules/ccxt/js/src/pro/coinone.js'),
    stores: true,
  },
  cryptocom: {
    load: () => import('../../node_modules/ccxt/js/src/pro/cryptocom.js'),
    batches: true,
    depths: [10, 50],
  },
  deepcoin: {
    load: () => import('../../node_modules/ccxt/js/src/pro/deepcoin.js'),
    loadsMarkets: true,
  },
  deribit: {
    load: () => import('../../node_modules/ccxt/js/src/pro/deribit.js'),
    batches: true,
    stores: true,
  },
  derive: {
    load: () => import('../../node_modules/ccxt/js/src/pro/derive.js'),
    refused: 'ccxt asks for prices in groups of ten steps: no level is what the exchange holds',
  },
  dydx: {
    load: () => import('../../node_modules/ccxt/js/src/pro/dydx.js'),
    stores: true,
  },
  extended: {
    load: () => import('../../node_modules/ccxt/js/src/pro/extended.js'),
  },
  gate: {
    load: () => import('../../node_modules/ccxt/js/src/pro/gate.js'),
    levels: 50,
  },
  gateeu: {
    load: () => import('../../node_modules/ccxt/js/src/pro/gateeu.js'),
    levels: 50,
  },
  gemini: {
    load: () => import('../../node_modules/ccxt/js/src/pro/gemini.js'),
    stores: true,
  },
  grvt: {
    load: () => import('../../node_modules/ccxt/js/src/pro/grvt.js'),
    batches: true,
  },
  hashkey: {
    load: () => import('../../node_modules/ccxt/js/src/pro/hashkey.js'),
  },
  hitbtc: {
    load: () => import('../../node_modules/ccxt/js/src/pro/hitbtc.js'),
  },
  hollaex: {
    load: () => import('../../node_modules/ccxt/js/src/pro/hollaex.js'),
  },
  htx: {
    load: () => import('../../node_modules/ccxt/js/src/pro/htx.js'),
    levels: 150,
  },
  hyperliquid: {
    load: () => import('../../node_modules/ccxt/js/src/pro/hyperliquid.js'),
    levels: 20,
    loadsMarkets: true,
  },
  independentreserve: {
    load: () => import('../../node_modules/ccxt/js/src/pro/independentreserve.js'),
    levels: 100,
  },
  kraken: {
    load: () => import('../../node_modules/ccxt/js/src/pro/kraken.js'),
    batches: true,
    depths: [10, 25, 100, 500, 1000],
    truncates: true,
    stores: true,
  },
  krakenfutures: {
    load: () => import('../../node_modules/ccxt/js/src/pro/krakenfutures.js'),
    batches: true,
    stores: true,
  },
  kucoin: {
    load: () => import('../../node_modules/ccxt/js/src/pro/kucoin.js'),
    batches: true,
  },
  kucoinfutures: {
    load: () => import('../../node_modules/ccxt/js/src/pro/kucoinfutures.js'),
    batches: true,
  },
  lbank: {
    load: () => import('../../node_modules/ccxt/js/src/pro/lbank.js'),
    depths: [10, 50, 100],
  },
  lighter: {
    load: () => import('../../node_modules/ccxt/js/src/pro/lighter.js'),
  },
  luno: {
    load: () => import('../../node_modules/ccxt/js/src/pro/luno.js'),
    refused: KEYS,
  },
  mexc: {
    load: () => import('../../node_modules/ccxt/js/src/pro/mexc.js'),
  },
  modetrade: {
    load: () => import('../../node_modules/ccxt/js/src/pro/modetrade.js'),
    levels: 100,
  },
  myokx: {
    load: () => import('../../node_modules/ccxt/js/src/pro/myokx.js'),
    batches: true,
    levels: 400,
    stores: true,
  },
  nado: {
    load: () => import('../../node_modules/ccxt/js/src/pro/nado.js'),
    refused:
      'ccxt takes the snapshot before it subscribes: what happens in between is lost without a sign',
  },
  ndax: {
    load: () => import('../../node_modules/ccxt/js/src/pro/ndax.js'),
    levels: 100,
  },
  okx: {
    load: () => import('../../node_modules/ccxt/js/src/pro/okx.js'),
    batches: true,
    levels: 400,
    stores: true,
  },
  okxus: {
    load: () => import('../../node_modules/ccxt/js/src/pro/okxus.js'),
    batches: true,
    levels: 400,
    stores: true,
  },
  onetrading: {
    load: () => import('../../node_modules/ccxt/js/src/pro/onetrading.js'),
  },
  p2b: {
    load: () => import('../../node_modules/ccxt/js/src/pro/p2b.js'),
    depths: [1, 5, 10, 20, 30, 50, 100],
    params: { interval: '0' },
  },
  pacifica: {
    load: () => import('../../node_modules/ccxt/js/src/pro/pacifica.js'),
  },
  paradex: {
    load: () => import('../../node_modules/ccxt/js/src/pro/paradex.js'),
    levels: 15,
  },
  phemex: {
    load: () => import('../../node_modules/ccxt/js/src/pro/phemex.js'),
    levels: 30,
    loadsMarkets: true,
  },
  poloniex: {
    load: () => import('../../node_modules/ccxt/js/src/pro/poloniex.js'),
    levels: 20,
    stores: true,
  },
  toobit: {
    load: () => import('../../node_modules/ccxt/js/src/pro/toobit.js'),
    batches: true,
  },
  upbit: {
    load: () => import('../../node_modules/ccxt/js/src/pro/upbit.js'),
    levels: 15,
  },
  weex: {
    load: () => import('../../node_modules/ccxt/js/src/pro/weex.js'),
    batches: true,
    levels: 200,
  },
  whitebit: {
    load: () => import('../../node_modules/ccxt/js/src/pro/whitebit.js'),
    depths: [1, 5, 10, 20, 30, 50, 100],
  },
  woo: {
    load: () => import('../../node_modules/ccxt/js/src/pro/woo.js'),
    levels: 100,
  },
  woofipro: {
    load: () => import('../../node_modules/ccxt/js/src/pro/woofipro.js'),
    levels: 100,
  },
  xt: {
    load: () => import('../../node_modules/ccxt/js/src/pro/xt.js'),
  },
}
