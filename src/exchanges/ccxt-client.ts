/** What is used of ccxt, in types of our own: its declarations are looser than its behaviour. */

/** `[price, size]`, behind them an order count or id in some books. Numbers, though not declared. */
export type CcxtRow = readonly unknown[]

export interface CcxtSide {
  readonly length: number
  readonly [position: number]: CcxtRow
  /** The prices in the order of the rows; those of bids are negated. */
  readonly index: Float64Array
  depth: number
  /** Books of single orders only. */
  readonly hashmap?: unknown
  storeArray(row: CcxtRow): void
  limit(): void
}

export interface CcxtBook {
  readonly asks: CcxtSide
  readonly bids: CcxtSide
  readonly nonce: unknown
  readonly timestamp: unknown
  readonly symbol: unknown
  /** Changes that wait for the snapshot. */
  readonly cache: { length: number }
  reset(snapshot?: CcxtSnapshot): unknown
}

export interface CcxtSnapshot {
  readonly asks?: unknown
  readonly bids?: unknown
}

/** One socket of ccxt. */
export interface CcxtSocket {
  url: string
  createConnection(): void
  send(message: unknown): Promise<unknown>
  resolve(result: unknown, hash?: string): unknown
  reject(error: unknown, hash?: string): unknown
  reset(error: unknown): void
  log(...values: readonly unknown[]): void
  onPong(): void
  clearPingInterval(): void
  clearConnectionTimeout(): void
  readonly connection?: {
    /** 1: open. */
    readonly readyState?: number
    close(): void
    terminate?(): void
    ping?(): void
  }
  readonly futures: Readonly<Record<string, Promise<unknown>>>
}

export interface CcxtExchange {
  readonly id: string
  readonly precisionMode: number
  readonly options: Record<string, unknown>
  readonly orderbooks: Readonly<Record<string, CcxtBook | undefined>>
  setMarkets(markets: readonly unknown[]): unknown
  loadMarkets(): Promise<Readonly<Record<string, unknown>>>
  safeMarketStructure(market: object): unknown
  orderBook(snapshot?: CcxtSnapshot, depth?: number): CcxtBook
  indexedOrderBook(snapshot?: CcxtSnapshot, depth?: number): CcxtBook
  countedOrderBook(snapshot?: CcxtSnapshot, depth?: number): CcxtBook
  handleMessage(socket: CcxtSocket, message: unknown): unknown
  client(url: string): CcxtSocket
  onError(socket: CcxtSocket, error: unknown): void
  onClose(socket: CcxtSocket, event: unknown): void
  log(...values: readonly unknown[]): void
  spawn(method: unknown, ...values: readonly unknown[]): unknown
  fetch(url: string, ...values: readonly unknown[]): Promise<unknown>
  watchOrderBook(symbol: string, limit?: number, params?: object): Promise<unknown>
  watchOrderBookForSymbols(
    symbols: readonly string[],
    limit?: number,
    params?: object,
  ): Promise<unknown>
  close(): Promise<unknown>
}

export type CcxtConstructor = new (settings: object) => CcxtExchange
