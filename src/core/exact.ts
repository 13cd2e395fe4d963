/**
 * Exact arithmetic on canonical decimals, and amounts: integers (BigInt) of 10^-48, the one scale
 * in which prices times sizes times fees are added up. Nothing here ever rounds by itself.
 */
import { canonicalDecimal } from './decimal.ts'

/** Decimals of an amount. A price, a size and a fee rate together must not have more. */
export const AMOUNT_DECIMALS = 48

/** A value as `units` of 10^-`decimals`. */
export interface Scaled {
  readonly units: bigint
  readonly decimals: number
}

/** Powers of ten as BigInt, made once. */
const powers: bigint[] = []

export function power10(exponent: number): bigint {
  return powers[exponent] ??= 10n ** BigInt(exponent)
}

/** @throws {RangeError} when the text is no decimal number. */
export function scaledOf(text: string): Scaled {
  const canonical = canonicalDecimal(text)
  if (canonical === undefined) {
    throw new RangeError(`"${text}" is no decimal number, expected one such as 0.25`)
  }
  const point = canonical.indexOf('.')
  if (point < 0) return { units: BigInt(canonical), decimals: 0 }
  const decimals = canonical.length - point - 1
  return { units: BigInt(canonical.slice(0, point) + canonical.slice(point + 1)), decimals }
}

/** Digits behind the point of a canonical decimal. */
export function decimalsOf(canonical: string): number {
  const point = canonical.indexOf('.')
  return point < 0 ? 0 : canonical.length - point - 1
}

/** Canonical text of `units` of 10^-`decimals`. */
export function textOfUnits(units: bigint, decimals: number): string {
  const negative = units < 0n
  const digits = String(negative ? -units : units).padStart(decimals + 1, '0')
  const point = digits.length - decimals
  const fraction = digits.slice(point).replace(/0+$/, '')
  const whole = digits.slice(0, point)
  return `${negative ? '-' : ''}${whole}${fraction === '' ? '' : `.${fraction}`}`
}

function aligned(a: string, b: string): [a: bigint, b: bigint, decimals: number] {
  const left = scaledOf(a)
  const right = scaledOf(b)
  const decimals = Math.max(left.decimals, right.decimals)
  return [
    left.units * power10(decimals - left.decimals),
    right.units * power10(decimals - right.decimals),
    decimals,
  ]
}

/** @throws {RangeError} when a text is no decimal number; so do all below. */
export function addDecimals(a: string, b: string): string {
  const [left, right, decimals] = aligned(a, b)
  return textOfUnits(left + right, decimals)
}

export function subtractDecimals(a: string, b: string): string {
  const [left, right, decimals] = aligned(a, b)
  return textOfUnits(left - right, decimals)
}

export function multiplyDecimals(a: string, b: string): string {
  const left = scaledOf(a)
  const right = scaledOf(b)
  return textOfUnits(left.units * right.units, left.decimals + right.decimals)
}

/** Negative, zero or positive like `a - b`, for any decimal text. */
export function compareDecimals(a: string, b: string): number {
  const [left, right] = aligned(a, b)
  return left < right ? -1 : left > right ? 1 : 0
}

/** Integer quotient, towards minus infinity. `divisor` above 0. */
export function floorDivide(value: bigint, divisor: bigint): bigint {
  const quotient = value / divisor
  return value < 0n && quotient * divisor !== value ? quotient - 1n : quotient
}

/** The nearest multiple of `step` that is not above (`down`) or not below (`up`) `value`. */
export function roundDecimal(value: string | number, step: string, way: 'down' | 'up'): string {
  const [units, unit, decimals] = aligned(String(value), step)
  if (unit <= 0n) throw new RangeError(`the step was "${step}", expected a number above 0`)
  const down = floorDivide(units, unit)
  const multiple = way === 'down' || down * unit === units ? down : down + 1n
  return textOfUnits(multiple * unit, decimals)
}

/** A decimal as an amount. */
export function amountOf(text: string): bigint {
  const { units, decimals } = scaledOf(text)
  if (decimals > AMOUNT_DECIMALS) {
    throw new RangeError(`"${text}" has more than ${AMOUNT_DECIMALS} decimals`)
  }
  return units * power10(AMOUNT_DECIMALS - decimals)
}

/** Canonical text of an amount. */
export function amountText(amount: bigint): string {
  return textOfUnits(amount, AMOUNT_DECIMALS)
}
