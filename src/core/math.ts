/**
 * `exp` and `log` made of additions, multiplications and divisions only. IEEE 754 defines those to
 * the last bit, so every engine gives the same; `Math.exp` and `Math.log` differ between engines.
 * Errors are below 3.2e-16 of the result.
 */

const bits = new Float64Array(1)
const words = new Uint32Array(bits.buffer)
/** Which word of a double holds its exponent. */
bits[0] = 1
const HIGH = words[1] === 0x3ff00000 ? 1 : 0

const LN2_HIGH = 6.93147180369123816490e-1
const LN2_LOW = 1.90821492927058770002e-10
const SQRT2 = 1.4142135623730951

/** 2^k for k from -1022 to 1023. */
function power2(k: number): number {
  words[1 - HIGH] = 0
  words[HIGH] = (k + 1023) << 20
  return bits[0]
}

/** Beyond this the result is Infinity. */
const EXP_MAX = 709.782712893384
/** Below this the result is 0. */
const EXP_MIN = -745.1332191019411

export function exp(x: number): number {
  if (x !== x) return NaN
  if (x > EXP_MAX) return Infinity
  if (x < EXP_MIN) return 0
  // x = k ln 2 + r, |r| <= ln 2 / 2.
  const k = Math.floor(x / LN2_HIGH + 0.5)
  const high = x - k * LN2_HIGH
  const low = k * LN2_LOW
  const r = high - low
  // The rational approximation of exp on that interval (Remez).
  const t = r * r
  const c = r - t * (1.66666666666666019037e-1 + t * (-2.77777777770155933842e-3 +
            t * (6.61375632143793436117e-5 + t * (-1.65339022054652515390e-6 +
                    t * 4.13813679705723846039e-8))))
  const y = 1 - ((low - (r * c) / (2 - c)) - high)
  if (k > 1023) return y * power2(k - 1) * 2
  if (k >= -1021) return y * power2(k)
  // Subnormal: rounded once more.
  return y * power2(k + 1000) * power2(-1000)
}

export function log(x: number): number {
  if (x !== x || x < 0) return NaN
  if (x === 0) return -Infinity
  if (x === Infinity) return Infinity
  let k = 0
  if (x < 2.2250738585072014e-308) {
    x *= 18014398509481984
    k = -54
  }
  // x = 2^k m, sqrt(1/2) < m <= sqrt(2).
  bits[0] = x
  const exponent = (words[HIGH] >>> 20) - 1023
  words[HIGH] = (words[HIGH] & 0xfffff) | 0x3ff00000
  let m = bits[0]
  k += exponent
  if (m > SQRT2) {
    m /= 2
    k++
  }
  const f = m - 1
  if (f === 0) return k === 0 ? 0 : k * LN2_HIGH + k * LN2_LOW
  const s = f / (2 + f)
  const z = s * s
  const w = z * z
  const even = w * (3.999999999940941908e-1 + w * (2.222219843214978396e-1 +
        w * 1.531383769920937332e-1))
  const odd = z * (6.666666666666735130e-1 + w * (2.857142874366239149e-1 +
        w * (1.818357216161805012e-1 + w * 1.479819860511658591e-1)))
  const half = 0.5 * f * f
  return k * LN2_HIGH - ((half - (s * (half + (even + odd)) + k * LN2_LOW)) - f)
}
