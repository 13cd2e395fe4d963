/** Exact decimals: nothing is ever lost, whatever the lengths. */
import { describe, test } from 'node:test'
import assert from 'node:assert/strict'
import fc from 'fast-check'
import {
  addDecimals,
  amountOf,
  amountText,
  compareDecimals,
  floorDivide,
  multiplyDecimals,
  roundDecimal,
  subtractDecimals,
} from '../../src/core/exact.ts'

const decimal = fc.tuple(fc.bigInt({ min: -(10n ** 30n), max: 10n ** 30n }), fc.nat(20))
  .map(([units, decimals]) => {
    const digits = String(units < 0n ? -units : units).padStart(decimals + 1, '0')
    const point = digits.length - decimals
    return `${units < 0n ? '-' : ''}${digits.slice(0, point)}.${digits.slice(point)}0`
  })

describe('exact decimals', () => {
  test('what doubles get wrong', () => {
    assert.equal(addDecimals('0.1', '0.2'), '0.3')
    assert.equal(subtractDecimals('1', '0.9999999999999999999'), '0.0000000000000000001')
    assert.equal(multiplyDecimals('-1.10', '1.10'), '-1.21')
    assert.equal(compareDecimals('1.0', '1'), 0)
    assert.equal(compareDecimals('-2', '1'), -1)
    assert.throws(() => addDecimals('1', 'x'), /no decimal number/)
  })

  test('sums come back, products are distributive', () => {
    fc.assert(fc.property(decimal, decimal, decimal, (a, b, c) => {
      assert.equal(compareDecimals(subtractDecimals(addDecimals(a, b), b), a), 0)
      const left = multiplyDecimals(a, addDecimals(b, c))
      assert.equal(left, addDecimals(multiplyDecimals(a, b), multiplyDecimals(a, c)))
      assert.equal(compareDecimals(amountText(amountOf(a)), a), 0)
    }))
  })

  test('rounding to a grid, also of numbers and below zero', () => {
    assert.equal(roundDecimal('100.019', '0.01', 'down'), '100.01')
    assert.equal(roundDecimal('100.011', '0.01', 'up'), '100.02')
    assert.equal(roundDecimal('100.01', '0.01', 'up'), '100.01')
    assert.equal(roundDecimal(0.1 + 0.2, '0.05', 'down'), '0.3')
    assert.equal(roundDecimal('-0.011', '0.01', 'down'), '-0.02')
    assert.equal(roundDecimal('-0.011', '0.01', 'up'), '-0.01')
    assert.equal(roundDecimal(1e21, '0.5', 'up'), '1000000000000000000000')
    assert.throws(() => roundDecimal(NaN, '1', 'up'), /no decimal number/)
    assert.throws(() => roundDecimal('1', '0', 'up'), /above 0/)
    assert.equal(floorDivide(-7n, 2n), -4n)
  })
})
