/** The grid of one market: what prices and sizes are possible, as exact integers and as text. */
import { scaledFromText, scaledToText } from '../core/decimal.ts'
import { EXIT, ObfeedError } from '../core/errors.ts'
import {
  AMOUNT_DECIMALS,
  amountOf,
  compareDecimals,
  decimalsOf,
  power10,
  roundDecimal,
  scaledOf,
} from '../core/exact.ts'
import { isRegularPrice } from '../core/wide.ts'
import type { Market } from '../strategy/contract.ts'

/** A price and a size on the grid. */
export interface Placed {
  readonly price: string
  readonly size: string
  readonly priceUnits: number
  readonly sizeUnits: number
}

export class Grid {
  readonly market: Market
  /** Of the book: its prices are integers of 10^-this. */
  readonly priceDecimals: number
  /** Of the step: sizes here are integers of 10^-this. */
  readonly sizeDecimals: number
  readonly minSizeUnits: number
  /** Amount. */
  readonly minCost: bigint
  readonly #contractSize: bigint
  /** Amount units of price units x size units x contract size. */
  readonly #costUnit: bigint
  readonly #makerFee: bigint
  readonly #takerFee: bigint

  /**
   * `priceDecimals`: of the book that the orders meet.
   *
   * @throws {ObfeedError} exit 78: market metadata that cannot be traded on exactly
   */
  constructor(market: Market, priceDecimals: number) {
    const refuse = (what: string): ObfeedError =>
      new ObfeedError('E_CONFIG', `market ${market.ref}: ${what}`, {
        scope: 'agent',
        symbol: market.ref,
        exitCode: EXIT.config,
      })
    for (const key of ['tick', 'step', 'contractSize'] as const) {
      if (!isPositive(market[key])) {
        throw refuse(`${key} was "${market[key]}", expected a decimal above 0`)
      }
    }
    for (const [key, text] of [['minSize', market.minSize], ['minCost', market.minCost]] as const) {
      if (!isDecimal(text) || compareDecimals(text, '0') < 0) {
        throw refuse(`${key} was "${text}", expected a decimal of at least 0`)
      }
    }
    for (const side of ['maker', 'taker'] as const) {
      if (!isDecimal(market.fees[side])) {
        throw refuse(`fees.${side} was "${market.fees[side]}", expected a decimal such as 0.001`)
      }
    }
    if (market.inverse === true) {
      throw refuse('it is an inverse contract, expected a spot market or a linear contract')
    }
    const tickDecimals = scaledOf(market.tick).decimals
    if (tickDecimals > priceDecimals) {
      throw refuse(
        `the tick ${market.tick} has more decimals than the book (${priceDecimals}); build the ` +
          `book with ${tickDecimals}`,
      )
    }
    this.market = market
    this.priceDecimals = priceDecimals
    this.sizeDecimals = scaledOf(market.step).decimals
    const contract = scaledOf(market.contractSize)
    const fees = Math.max(
      scaledOf(market.fees.maker).decimals,
      scaledOf(market.fees.taker).decimals,
    )
    const costDecimals = priceDecimals + this.sizeDecimals + contract.decimals
    if (costDecimals + fees > AMOUNT_DECIMALS) {
      throw refuse(
        `price, size, contract size and fee have ${costDecimals + fees} decimals together, ` +
          `expected at most ${AMOUNT_DECIMALS}`,
      )
    }
    this.#contractSize = contract.units
    this.#costUnit = power10(AMOUNT_DECIMALS - costDecimals)
    this.minSizeUnits = Number(
      scaledOf(roundDecimal(market.minSize, market.step, 'up')).units *
        power10(
          this.sizeDecimals -
            scaledOf(roundDecimal(market.minSize, market.step, 'up')).decimals,
        ),
    )
    this.minCost = amountOf(market.minCost)
    this.#makerFee = amountOf(market.fees.maker)
    this.#takerFee = amountOf(market.fees.taker)
  }

  /** Undefined: not on the grid, or beyond what is held exactly. */
  place(
    side: 'buy' | 'sell',
    price: string | number,
    size: string | number,
  ): Placed | undefined {
    const { tick, step } = this.market
    const priceText = onGrid(price, tick, side === 'buy' ? 'down' : 'up')
    const sizeText = onGrid(size, step, 'down')
    if (priceText === undefined || sizeText === undefined) return undefined
    const priceUnits = scaledFromText(priceText, this.priceDecimals)
    const sizeUnits = scaledFromText(sizeText, this.sizeDecimals)
    if (!(priceUnits > 0) || !isRegularPrice(priceUnits) || !(sizeUnits > 0)) return undefined
    return { price: priceText, size: sizeText, priceUnits, sizeUnits }
  }

  /** What a trade costs in quote, as an amount. Exact. */
  cost(priceUnits: number, sizeUnits: number): bigint {
    return BigInt(priceUnits) * BigInt(sizeUnits) * this.#contractSize * this.#costUnit
  }

  /** The same from texts, for prices that are none of ours. */
  costOf(price: string, size: string): bigint {
    const p = scaledOf(price)
    const s = scaledOf(size)
    const contract = scaledOf(this.market.contractSize)
    const decimals = p.decimals + s.decimals + contract.decimals
    const units = p.units * s.units * contract.units
    return decimals <= AMOUNT_DECIMALS
      ? units * power10(AMOUNT_DECIMALS - decimals)
      : units / power10(decimals - AMOUNT_DECIMALS)
  }

  /** Fee on a cost, as an amount; negative is a rebate. */
  fee(cost: bigint, liquidity: 'maker' | 'taker'): bigint {
    // Rates have few decimals and costs many zeros: no remainder is left.
    return cost * (liquidity === 'maker' ? this.#makerFee : this.#takerFee) /
      power10(AMOUNT_DECIMALS)
  }

  priceText(units: number): string {
    return scaledToText(units, this.priceDecimals)
  }

  sizeText(units: number): string {
    return scaledToText(units, this.sizeDecimals)
  }
}

function isDecimal(text: unknown): text is string {
  return typeof text === 'string' && /^-?\d+(\.\d+)?$/.test(text)
}

function isPositive(text: unknown): boolean {
  return isDecimal(text) && compareDecimals(text, '0') > 0
}

/** Canonical text on the grid; undefined when text is not on it, or no number at all. */
function onGrid(value: string | number, step: string, way: 'down' | 'up'): string | undefined {
  if (typeof value === 'number') {
    return Number.isFinite(value) ? roundDecimal(value, step, way) : undefined
  }
  if (!isDecimal(value) || decimalsOf(value) > AMOUNT_DECIMALS) return undefined
  const rounded = roundDecimal(value, step, 'down')
  return compareDecimals(rounded, value) === 0 ? rounded : undefined
}
