/** The products of a simulated exchange: by name, in motion, and what is true of them and when. */
import { FrameHistory } from './frame-history.ts'
import { bookDigest, Market } from './market.ts'
import type { BookTruth } from './market.ts'
import { listProducts } from './products.ts'
import type { Listing, Product, ProductSpec } from './products.ts'
import { hashText, Random } from './random.ts'
import type { UpdateIds } from './update-ids.ts'

export interface MarketsOptions {
  /** Names, specifications, or how many products of a realistic list. */
  readonly symbols: number | readonly (string | ProductSpec)[]
  readonly seed?: number
  /** Levels a side; a product with few ticks below its price has fewer bids. 100. */
  readonly levels?: number
  /** 0: all products are equally busy; 1: Zipf, the first is the busiest. */
  readonly skew?: number
  /** Versions per product that can be rebuilt at least, and frames remembered. 1024. */
  readonly history?: number
  /** Connections whose frames are remembered. 256. */
  readonly connectionsRemembered?: number
}

/** What can be asked of an exchange, beside what it sends. A symbol is any of a product's names. */
export class SimulatedMarkets {
  readonly products: readonly Product[]
  /** By product index. */
  protected readonly markets: readonly Market[]
  /** Both spellings, `segment:wire` and other names -> product index. */
  protected readonly names = new Map<string, number>()
  protected readonly history: FrameHistory
  /** Products that are listed no more: they stand still and cannot be subscribed. */
  protected readonly delisted = new Set<number>()
  /** By product index: numbers that are a function of the version. Undefined: none such. */
  protected ids: readonly UpdateIds[] | undefined
  readonly #random: Random
  readonly #weights: Float64Array

  constructor(options: MarketsOptions, listing?: Listing, aliases?: (one: Product) => string[]) {
    const seed = options.seed ?? 1
    this.products = listProducts(options.symbols, listing)
    this.#random = new Random(seed)
    const history = options.history ?? 1024
    const levels = options.levels ?? 100
    this.markets = this.products.map((product) =>
      new Market(product, new Random(hashText(seedName(product), seed)), { levels, history })
    )
    for (const product of this.products) {
      for (const alias of aliases?.(product) ?? []) this.names.set(alias, product.index)
    }
    // A product of its own wins over the alias of another, the first over its namesakes.
    for (const product of [...this.products].reverse()) {
      this.names.set(product.wireSymbol, product.index)
      this.names.set(`${product.segment}:${product.wireSymbol}`, product.index)
      this.names.set(product.symbol, product.index)
    }
    this.history = new FrameHistory(history, options.connectionsRemembered ?? 256)
    this.#weights = cumulativeWeights(this.products.length, options.skew ?? 0)
  }

  /** The product of a wire symbol, unified symbol or alias. */
  product(name: string): Product | undefined {
    const index = this.names.get(name)
    return index === undefined ? undefined : this.products[index]
  }

  /** The book as it is now; undefined for an unknown symbol. */
  truth(symbol: string, depth = Infinity): BookTruth | undefined {
    const market = this.#market(symbol)
    return market?.bookAt(market.version, depth)
  }

  /** Version of the book now; each market frame of the product adds one. -1: unknown symbol. */
  version(symbol: string): number {
    return this.#market(symbol)?.version ?? -1
  }

  /** Rebuilds a former state, cheaply for neighbouring versions; undefined beyond the history. */
  bookAt(symbol: string, version: number, depth = Infinity): BookTruth | undefined {
    return this.#market(symbol)?.bookAt(version, depth)
  }

  /** `bookDigest` of that state; undefined beyond the history. */
  digestAt(symbol: string, version: number, depth = Infinity): number | undefined {
    const book = this.bookAt(symbol, version, depth)
    return book === undefined ? undefined : bookDigest(book.bids, book.asks)
  }

  /**
   * Version that a client of `connection` has after the frame `nonce` (any channel's); -1 when it
   * had no data of the symbol by then, or that is forgotten. Frames count as sent by the
   * exchange, whatever faults did to them on their way.
   */
  versionAtNonce(symbol: string, connection: number, nonce: number): number {
    const index = this.names.get(symbol)
    return index === undefined ? -1 : this.#versionAt(index, connection, nonce)
  }

  /**
   * The versions that frames brought to this connection, ascending, repeated where several frames
   * belong to one version; bounded. For exchanges that number nothing: a book is one of these.
   */
  versionsSent(symbol: string, connection: number): number[] {
    const index = this.names.get(symbol)
    return index === undefined ? [] : this.history.versions(connection, index)
  }

  /** The product is listed no more. */
  isDelisted(symbol: string): boolean {
    const index = this.names.get(symbol)
    return index !== undefined && this.delisted.has(index)
  }

  /**
   * The book that is true as of `nonce`. Sequences are per connection: with `'any'` the answer
   * has one book for each remembered connection in which the frame `nonce` was about the symbol.
   */
  truthAtNonce(
    symbol: string,
    connection: number | 'any',
    nonce: number,
    depth = Infinity,
  ): BookTruth[] {
    const index = this.names.get(symbol)
    if (index === undefined) return []
    const connections = connection === 'any' && this.ids === undefined
      ? this.history.connectionsWith(index, nonce)
      : [connection === 'any' ? 0 : connection]
    const versions = new Set<number>()
    for (const id of connections) versions.add(this.#versionAt(index, id, nonce))
    const books: BookTruth[] = []
    for (const version of versions) {
      const book = version < 0 ? undefined : this.markets[index]!.bookAt(version, depth)
      if (book !== undefined) books.push(book)
    }
    return books
  }

  /** The client could not know better: its snapshot was wrong and nothing on the wire told. */
  isTainted(symbol: string, connection: number, nonce: number): boolean {
    const index = this.names.get(symbol)
    if (index === undefined) return false
    // A REST snapshot belongs to no connection; it is kept as connection 0.
    return this.history.tainted(connection, index, nonce) || this.history.tainted(0, index, nonce)
  }

  /** The product that can be subscribed under this name, of this segment; undefined: none. */
  protected find(name: string, segment = ''): number | undefined {
    const product = this.names.get(`${segment}:${name}`)
    return product === undefined || this.delisted.has(product) ? undefined : product
  }

  #versionAt(product: number, connection: number, nonce: number): number {
    if (this.ids === undefined) return this.history.versionAt(connection, product, nonce)
    const version = this.ids[product]!.versionAt(nonce)
    return version > this.markets[product]!.version ? -1 : version
  }

  #market(symbol: string): Market | undefined {
    const index = this.names.get(symbol)
    return index === undefined ? undefined : this.markets[index]
  }

  /** The index of the product whose turn it is, the busy ones more often. */
  protected draw(): number {
    if (this.products.length === 1) return 0
    const weights = this.#weights
    const mark = this.#random.next() * weights[weights.length - 1]!
    let low = 0
    let high = weights.length - 1
    while (low < high) {
      const middle = (low + high) >>> 1
      if (weights[middle]! <= mark) low = middle + 1
      else high = middle
    }
    return low
  }
}

/** Seeds a product's market. Namesakes of several segments must not move alike. */
function seedName(product: Product): string {
  return product.segment === '' ? product.wireSymbol : `${product.segment}:${product.wireSymbol}`
}

function cumulativeWeights(count: number, skew: number): Float64Array {
  const weights = new Float64Array(count)
  let sum = 0
  for (let i = 0; i < count; i++) {
    sum += 1 / Math.pow(i + 1, skew)
    weights[i] = sum
  }
  return weights
}
