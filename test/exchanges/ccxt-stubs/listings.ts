/** Market metadata of exchanges whose names ccxt cannot do without: the parts it reads. */

const universe = [{ name: 'BTC', szDecimals: 4, maxLeverage: 50 }]
const context = { markPx: '1000', midPx: '1000' }

const deepcoin = (instId: string, instType: string) => ({
  instType,
  instId,
  baseCcy: 'BTC',
  quoteCcy: 'USDT',
  ctVal: '1',
  lever: '1',
  tickSz: '0.05',
  lotSz: '0.001',
  minSz: '0.5',
  state: 'live',
  maxLmtSz: '100',
  maxMktSz: '100',
})

/** Answer by exchange, path and body; undefined: nobody asked for that. */
export function listing(exchange: string, path: string, body: string): unknown {
  switch (exchange) {
    case 'apex': {
      const contract = {
        symbol: 'BTC-USDT',
        crossSymbolName: 'BTCUSDT',
        l2PairId: '1',
        baseTokenId: 'BTC',
        settleAssetId: 'USDT',
        enableTrade: true,
        stepSize: '0.001',
        tickSize: '0.1',
      }
      return { data: { contractConfig: { perpetualContract: [contract] } } }
    }
    case 'bitrue': {
      if (!path.includes('exchangeInfo')) return []
      const filters = [
        { filterType: 'PRICE_FILTER', priceScale: 2 },
        { filterType: 'LOT_SIZE', volumeScale: 6 },
      ]
      const market = { symbol: 'BTCUSDT', baseAsset: 'BTC', quoteAsset: 'USDT', filters }
      return { symbols: [{ ...market, status: 'TRADING' }] }
    }
    case 'deepcoin': {
      const isSpot = path.includes('instType=SPOT')
      const market = isSpot ? deepcoin('BTC-USDT', 'SPOT') : deepcoin('BTC-USDT-SWAP', 'SWAP')
      return { code: '0', msg: '', data: [market] }
    }
    case 'hyperliquid': {
      const { type, dex } = JSON.parse(body)
      if (type === 'perpDexs') return [null]
      if (type === 'spotMeta') return { tokens: [], universe: [] }
      if (type === 'metaAndAssetCtxs' && dex === undefined) return [{ universe }, [context]]
      return [{ tokens: [], universe: [] }, []]
    }
    case 'phemex': {
      if (!path.endsWith('/public/products') || path.includes('exchange')) return { data: [] }
      const product = {
        symbol: 'sBTCUSDT',
        type: 'Spot',
        quoteCurrency: 'USDT',
        baseCurrency: 'BTC',
        priceScale: 8,
        ratioScale: 8,
        baseTickSize: '0.000001 BTC',
        quoteTickSize: '0.01 USDT',
        status: 'Listed',
      }
      const currencies = [{ currency: 'BTC', valueScale: 8 }, { currency: 'USDT', valueScale: 8 }]
      return { code: 0, data: { currencies, products: [product], perpProductsV2: [] } }
    }
    case 'kucoin':
    case 'kucoinfutures': {
      const server = { endpoint: 'wss://ws-api-spot.kucoin.com/', pingInterval: 18000 }
      return { code: '200000', data: { token: 'token', instanceServers: [server] } }
    }
    default:
      return undefined
  }
}
