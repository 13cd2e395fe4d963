/** The library face: what `import ... from 'obfeed'` gives to a strategy. */
import type { Strategy } from './strategy/contract.ts'

export type * from './strategy/contract.ts'
export {
  addDecimals,
  compareDecimals,
  multiplyDecimals,
  roundDecimal,
  subtractDecimals,
} from './core/exact.ts'
export { exp, log } from './core/math.ts'
export {
  depthWithin,
  imbalance,
  pressure,
  slippageBps,
  slope,
  spreadBps,
  vwap,
  weightedMid,
} from './strategy/signals/book.ts'
export { mlofi, ofi } from './strategy/signals/flow.ts'
export { mid } from './strategy/signals/levels.ts'
export { microPrice } from './strategy/signals/micro-price.ts'
export { arbitrage, avellanedaStoikov } from './strategy/signals/trading.ts'
export { ewmaVol } from './strategy/signals/volatility.ts'

/** Returns its argument: gives the editor the types. */
export function defineStrategy<P extends object>(strategy: Strategy<P>): Strategy<P> {
  return strategy
}
