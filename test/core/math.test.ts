/** `exp` and `log`: equal bits in every runtime, and close to the truth. */
import { describe, test } from 'node:test'
import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { resolve } from 'node:path'
import { exp, log } from '../../src/core/math.ts'
import { hashOfMath } from './math-hash.ts'

const ROOT = resolve(import.meta.dirname!, '../..')
const BITS = 256n
const ONE = 1n << BITS

/** A double as an integer of 2^-256, exactly. */
function fixed(x: number): bigint {
  let scale = 0n
  while (!Number.isInteger(x)) {
    x *= 2
    scale++
  }
  return (BigInt(x) << BITS) >> scale
}

/** exp of a fixed number, |x| below 1. */
function fixedExp(x: bigint): bigint {
  let sum = ONE
  let term = ONE
  for (let k = 1n; term !== 0n && term !== -1n; k++) {
    term = (term * x >> BITS) / k
    sum += term
  }
  return sum
}

/** The true exp as an integer of 2^-256, for |x| up to 60. */
function trueExp(x: number): bigint {
  let e = fixedExp(fixed(x) >> 6n)
  for (let i = 0; i < 6; i++) e = e * e >> BITS
  return e
}

const MOST = 3.2e-16

function errorOf(found: number, truth: bigint): number {
  const difference = fixed(found) - truth
  const scale = 10n ** 40n
  return Math.abs(Number(difference * scale / truth)) / 1e40
}

describe('mathematics', () => {
  test('equal bits in Bun and Deno', () => {
    const deno = resolve(ROOT, 'node_modules/.bin/deno')
    const file = resolve(import.meta.dirname!, 'math-hash.ts')
    const there = execFileSync(deno, ['run', '--quiet', '--no-prompt', file, '--print'], {
      cwd: ROOT,
      encoding: 'utf8',
    })
    assert.match(there, /^[0-9a-f]{64}$/)
    assert.equal(there, hashOfMath())
  })

  test('exp is within 3.2e-16 of the truth', () => {
    let worst = 0
    for (let i = 0; i < 4000; i++) {
      const x = (i * 0.7548776662466927 % 1 - 0.5) * (i % 2 === 0 ? 80 : 1.4)
      worst = Math.max(worst, errorOf(exp(x), trueExp(x)))
    }
    assert.ok(worst <= MOST, `was ${worst}`)
  })

  test('log is within 3.2e-16 of the truth', () => {
    // exp(found) against x: the relative error there is the absolute one of the logarithm.
    let worst = 0
    for (let i = 0; i < 4000; i++) {
      const unit = i * 0.7548776662466927 % 1
      const x = i % 2 === 0 ? 0.5 + unit * 1.5 : 1 + unit * 1e6
      const found = log(x)
      if (found === 0) continue
      const off = errorOf(x, trueExp(found))
      worst = Math.max(worst, off / Math.abs(found))
    }
    assert.ok(worst <= MOST, `was ${worst}`)
  })

  test('the edges', () => {
    assert.deepEqual([exp(0), exp(NaN), exp(Infinity), exp(-Infinity)], [1, NaN, Infinity, 0])
    assert.deepEqual([log(1), log(0), log(-1), log(NaN)], [0, -Infinity, NaN, NaN])
    assert.equal(log(Infinity), Infinity)
    assert.equal(exp(710), Infinity)
    assert.equal(exp(-746), 0)
    assert.ok(exp(709.78) < Infinity && exp(-745) > 0)
    assert.ok(Math.abs(log(5e-324) / Math.log(5e-324) - 1) < 1e-15)
  })
})
