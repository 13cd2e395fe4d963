/** What the registry knows of one simulated exchange. */
import type { SimulatedExchange } from './exchange.ts'
import type { ExchangeOptions, ExchangeOutput, ExchangeRules } from './rules.ts'

/** One simulated exchange: everything of it that is shared is in `SimulatedExchange`. */
export interface Twin {
  readonly rules: ExchangeRules
  create(options: ExchangeOptions, output: ExchangeOutput): SimulatedExchange
  /** Path and query a client of this product connects to. Absent: `/`. */
  target?(symbol: string): string
  /** A client's message that subscribes to the book of this product. */
  subscribeText(wireSymbol: string): string
}
