/**
 * The measured program with ccxt: its own client callback and Coinbase handler on the same frames,
 * and JSON.stringify of the event. No promise is awaited and no bytes are made of the text, so what
 * a real program pays on top is left out; ccxt checks no sequence there.
 */
import process from 'node:process'
import { pro } from 'ccxt'
import {
  jobFrames,
  measureFrames,
  measureMemory,
  PRODUCT,
  productName,
  readJob,
} from './measure.ts'

interface Update {
  readonly side: string
  readonly price_level: string
  readonly new_quantity: string
}

interface Message {
  readonly timestamp: string
  readonly sequence_num: number
  readonly events: readonly { readonly updates: readonly Update[] }[]
}

/** As much of ccxt's client as is used: what the socket calls with each message. */
interface Client {
  onMessage(event: { data: string }): void
}

class Coinbase extends pro.coinbase {
  wantsEvent = true
  wantsBook = true
  event = ''

  override handleMessage(client: never, message: never): void {
    if (!this.wantsBook) return
    super.handleMessage(client, message)
    if (this.wantsEvent) this.event = this.#encode(message as Message)
  }

  #encode(message: Message): string {
    const bids: [number, number][] = []
    const asks: [number, number][] = []
    for (const { side, price_level, new_quantity } of message.events[0].updates) {
      const levels = side === 'bid' ? bids : asks
      levels.push([Number(price_level), Number(new_quantity)])
    }
    return JSON.stringify({
      v: 1,
      type: 'delta',
      exchange: 'coinbase',
      symbol: 'BTC/USD',
      nonce: message.sequence_num,
      timestamp: this.orderbooks['BTC/USD']?.timestamp,
      receivedUs: Math.floor((performance.timeOrigin + performance.now()) * 1000),
      bids,
      asks,
    })
  }
}

function open(products: readonly string[]): [Coinbase, Client] {
  const exchange = new Coinbase()
  exchange.setMarkets(products.map((id) => {
    const [base, quote] = id.split('-')
    return exchange.safeMarketStructure({
      id,
      symbol: `${base}/${quote}`,
      base,
      quote,
      baseId: base,
      quoteId: quote,
      type: 'spot',
      spot: true,
      active: true,
      precision: { price: 0.01, amount: 1e-8 },
    })
  }))
  return [exchange, exchange.client('wss://127.0.0.1') as unknown as Client]
}

const text = new TextDecoder()
const job = readJob(process.argv.slice(2))
if (job.mode === 'memory') {
  const products = Array.from({ length: job.count + 1 }, (_, i) => productName(i))
  const [exchange, client] = open(products)
  exchange.wantsEvent = false
  measureMemory(job, (_product, frame) => client.onMessage({ data: text.decode(frame) }))
  const loaded = Object.values(exchange.orderbooks).filter((book) =>
    book.bids.length === job.levels
  )
  if (loaded.length !== products.length) throw new Error(`${loaded.length} books loaded`)
} else {
  const frames = jobFrames(job)
  const [exchange, client] = open([PRODUCT])
  exchange.wantsBook = job.mode === 'pipe'
  measureFrames(frames, () => {
    client.onMessage({ data: text.decode(frames.snapshot) })
    return (frame) => client.onMessage({ data: text.decode(frame) })
  })
  if (exchange.wantsBook && exchange.orderbooks['BTC/USD'].bids.length < job.levels / 2) {
    throw new Error('the book was not kept')
  }
}
