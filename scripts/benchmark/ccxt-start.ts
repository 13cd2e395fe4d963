/**
 * The measured program with ccxt, from start to the first book: `loadMarkets`, `watchOrderBook`,
 * print. `program WS_URL REST_URL SYMBOL`. Its rate limiter is off: no request waits for its turn.
 */
import process from 'node:process'
import { pro } from 'ccxt'

const [wsUrl, restUrl, symbol] = process.argv.slice(2)

async function main(): Promise<void> {
  const exchange = new pro.coinbase({ enableRateLimit: false })
  exchange.urls['api'] = { rest: restUrl, ws: wsUrl }
  // ccxt wants it for a socket without TLS.
  await exchange.loadHttpProxyAgent()
  await exchange.loadMarkets()
  const book = await exchange.watchOrderBook(symbol)
  process.stdout.write(`${JSON.stringify(book)}\n`)
}

main().catch((error) => {
  process.stderr.write(`${error instanceof Error ? error.stack : error}\n`)
  process.exitCode = 1
})
