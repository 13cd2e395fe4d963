/** Prints one hash over `exp` and `log` of 200,000 arguments; run under every runtime. */
import { createHash } from 'node:crypto'
import process from 'node:process'
import { exp, log } from '../../src/core/math.ts'

const ARGUMENTS = 100_000

/** The same arguments everywhere: integers times powers of two, no function of the engine's. */
export function hashOfMath(): string {
  const values = new Float64Array(2 * ARGUMENTS)
  let state = 1
  for (let i = 0; i < ARGUMENTS; i++) {
    state = state * 48271 % 2147483647
    const unit = state / 2147483648
    values[2 * i] = exp((unit - 0.5) * (i % 3 === 0 ? 1500 : i % 3 === 1 ? 20 : 0.01))
    values[2 * i + 1] = log(i % 2 === 0 ? unit * 1e6 : 0.5 + unit)
  }
  return createHash('sha256').update(new Uint8Array(values.buffer)).digest('hex')
}

if (process.argv.includes('--print')) process.stdout.write(hashOfMath())
