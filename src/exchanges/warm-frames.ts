/** How canned frames for `Adapter.warmFrames` are varied and spelled. */

/** A scaled integer with all its decimals, as most exchanges spell prices: `0.00000120`. */
export function fixedText(scaled: number, decimals: number): string {
  const digits = String(scaled).padStart(decimals + 1, '0')
  const point = digits.length - decimals
  return decimals === 0 ? digits : `${digits.slice(0, point)}.${digits.slice(point)}`
}

/** 32 bits that look random, the same for the same number. */
export function mixed(n: number): number {
  return Math.imul(n, 0x9e3779b1) >>> 0
}
