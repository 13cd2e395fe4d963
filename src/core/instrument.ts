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

/** An instrument as its exchange lists it. */
export interface Market extends Instrument {
  /** False: listed, but not traded now. */
  readonly active: boolean
  /** Wire symbol of the market that this one is only another name of. */
  readonly aliasOf?: string
}

/** Wanted, but not traded at present: it is asked for again. */
export interface DormantSymbol extends PlannedSymbol {
  /** `not traded at present`, `no market any more`. */
  readonly reason: string
}

/** An instrument and where its events go. */
export interface PlannedSymbol extends Instrument {
  /** Kafka partition. */
  readonly partition: number
}
