/**
 * Position and money of one book, from fills only. Sizes are integers, money is amounts (BigInt of
 * 10^-48): nothing is rounded but the share of the cost that a partial close takes along, and what
 * that leaves out stays with the rest.
 */
import { amountOf, power10, scaledOf, textOfUnits } from '../core/exact.ts'
import type { Grid } from './grid.ts'

export class Position {
  readonly grid: Grid
  /** Signed, integer of the step's decimals. */
  units = 0n
  /** Amounts in quote: what came in less what went out, fees included. */
  cash = 0n
  fees = 0n
  /** Gains of what was closed, at average cost, without fees. */
  realised = 0n
  /** What the open position cost (long) or brought (short), never negative for positive prices. */
  basis = 0n

  constructor(grid: Grid) {
    this.grid = grid
  }

  get text(): string {
    return textOfUnits(this.units, this.grid.sizeDecimals)
  }

  /** Mean price of the open position as a double, to show; NaN when there is none. */
  get averagePrice(): number {
    if (this.units === 0n) return NaN
    const size = this.units < 0n ? -this.units : this.units
    const one = this.grid.costOf('1', textOfUnits(size, this.grid.sizeDecimals))
    return Number(this.basis * power10(15) / one) / 1e15
  }

  /** `fee` in quote, negative is a rebate. */
  apply(side: 'buy' | 'sell', price: string, size: string, fee: string): void {
    const { units, decimals } = scaledOf(size)
    const filled = units * power10(this.grid.sizeDecimals - decimals)
    const cost = this.grid.costOf(price, size)
    const charged = amountOf(fee)
    const signed = side === 'buy' ? filled : -filled
    this.cash -= side === 'buy' ? cost : -cost
    this.cash -= charged
    this.fees += charged
    const before = this.units
    this.units = before + signed
    if (before === 0n || before > 0n === signed > 0n) {
      this.basis += cost
      return
    }
    const held = before < 0n ? -before : before
    const closed = filled < held ? filled : held
    const closedCost = cost * closed / filled
    const closedBasis = this.basis * closed / held
    this.realised += before > 0n ? closedCost - closedBasis : closedBasis - closedCost
    this.basis = closed === held ? cost - closedCost : this.basis - closedBasis
  }

  /** What it is worth at a price in quote, signed: `cash + value` is all that was made or lost. */
  value(price: string): bigint {
    return this.grid.costOf(price, this.text)
  }

  /** Gain of the open position at a price. */
  unrealised(price: string): bigint {
    const value = this.value(price)
    return this.units >= 0n ? value - this.basis : value + this.basis
  }
}
