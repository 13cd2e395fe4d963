/** What a worker needs to know of a market, resolved by the parent; no exchange client in it. */

export interface Instrument {
  /** ccxt unified symbol, `BTC/USD`. */
  readonly symbol: string
  /** The exchange's own name, `BTC-USD`. */
  readonly wireSymbol: string
  /** Prices are held as integers of 10^-priceDecimals; a price with more decimals stays exact too. */
  readonly priceDecimals: number
  /** Sizes are held as integers of 10^-sizeDecimals; a size with more decimals stays exact too. */
  readonly sizeDecimals: number
}

/** An instrument and where its events go. */
export interface PlannedSymbol extends Instrument {
  /** Kafka partition. */
  readonly partition: number
}
