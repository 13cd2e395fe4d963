/**
 * Values that have no exact scaled integer. A wide size is held as a negative number that names a
 * text; a wide price as a surrogate key: a double strictly between the regular prices around it,
 * in the right order, and unique. They stay exact to the last digit and cost only themselves.
 */
import { compareDecimals, scaledFromText, scaledToText } from './decimal.ts'
import { ObfeedError } from './errors.ts'

/**
 * Regular prices are integers up to this in magnitude. Above it the doubles leave too little room
 * between neighbours, so larger ones are treated as wide.
 */
export const REGULAR_PRICE_MAX = 2 ** 45

/** Whether this key of a book is a regular price, that is: the scaled integer itself. */
export function isRegularPrice(price: number): boolean {
  return price <= REGULAR_PRICE_MAX && price >= -REGULAR_PRICE_MAX && Math.floor(price) === price
}

interface WidePrice {
  readonly text: string
  /** In price space, whatever the side. */
  readonly key: number
  /** Levels that use it: 0 to 2 (one a side). */
  users: number
}

/** The wide prices and sizes of one book. Texts are canonical decimals. */
export class WideTable {
  readonly #priceDecimals: number
  /** Ascending by price, and so by key. */
  #prices: WidePrice[] = []
  readonly #byText: Map<string, WidePrice> = new Map()
  readonly #byKey: Map<number, WidePrice> = new Map()
  /** Text of size `-1 - index`. */
  #sizes: string[] = []
  #freeSizes: number[] = []
  /** Let go during this frame; their texts are still needed to tell its difference. */
  #releasedSizes: number[] = []
  #releasedPrices: WidePrice[] = []
  /** Prices and sizes in the table; 0 lets callers skip every check. */
  count = 0

  constructor(priceDecimals: number) {
    this.#priceDecimals = priceDecimals
  }

  clear(): void {
    if (this.count === 0) return
    this.#prices = []
    this.#byText.clear()
    this.#byKey.clear()
    this.#sizes = []
    this.#freeSizes = []
    this.#releasedSizes = []
    this.#releasedPrices = []
    this.count = 0
  }

  /** Forgets what was let go during the frame before. */
  settle(): void {
    if (this.#releasedSizes.length > 0) {
      for (const size of this.#releasedSizes) {
        this.#sizes[-1 - size] = ''
        this.#freeSizes.push(size)
        this.count--
      }
      this.#releasedSizes = []
    }
    if (this.#releasedPrices.length > 0) {
      for (const price of this.#releasedPrices) {
        // A level may have come back to it, and gone again: then it stands here twice.
        if (price.users > 0 || this.#byKey.get(price.key) !== price) continue
        this.#byText.delete(price.text)
        this.#byKey.delete(price.key)
        this.#prices.splice(this.#position(price.text), 1)
        this.count--
      }
      this.#releasedPrices = []
    }
  }

  addSize(text: string): number {
    this.count++
    const free = this.#freeSizes.pop()
    if (free !== undefined) {
      this.#sizes[-1 - free] = text
      return free
    }
    this.#sizes.push(text)
    return -this.#sizes.length
  }

  /** The level of this wide size is gone; its text stays until `settle`. */
  releaseSize(size: number): void {
    this.#releasedSizes.push(size)
  }

  sizeText(size: number): string {
    return this.#sizes[-1 - size]
  }

  /** The scaled integer of a text that turns out to be a regular price; NaN when it is wide. */
  regularPrice(text: string): number {
    const price = scaledFromText(text, this.#priceDecimals)
    return isRegularPrice(price) ? price : NaN
  }

  /** The text of an integer price that is too large for a key of its own. */
  textOf(price: number): string {
    return scaledToText(price, this.#priceDecimals)
  }

  /** The key of a wide price that some level has, or NaN. */
  findPrice(text: string): number {
    const price = this.#byText.get(text)
    return price === undefined ? NaN : price.key
  }

  /** The key of a wide price, made when it is new. `E_DECODE` when no key is left between its neighbours. */
  addPrice(text: string): number {
    const known = this.#byText.get(text)
    if (known !== undefined) return known.key
    const position = this.#position(text)
    const key = this.#keyFor(text, position)
    const price: WidePrice = { text, key, users: 0 }
    this.#prices.splice(position, 0, price)
    this.#byText.set(text, price)
    this.#byKey.set(key, price)
    // Until a level uses it, it is let go with this frame.
    this.#releasedPrices.push(price)
    this.count++
    return key
  }

  /** A level with this key was added to a side. */
  usePrice(key: number): void {
    const price = this.#byKey.get(key)
    if (price !== undefined) price.users++
  }

  /** A level with this key was removed from a side. */
  releasePrice(key: number): void {
    const price = this.#byKey.get(key)
    if (price !== undefined && --price.users === 0) this.#releasedPrices.push(price)
  }

  priceText(key: number): string {
    return this.#byKey.get(key)?.text ?? scaledToText(key, this.#priceDecimals)
  }

  /** First position whose price is not below `text`. */
  #position(text: string): number {
    let low = 0
    let high = this.#prices.length
    while (low < high) {
      const middle = (low + high) >>> 1
      if (compareDecimals(this.#prices[middle].text, text) < 0) low = middle + 1
      else high = middle
    }
    return low
  }

  #keyFor(text: string, position: number): number {
    const negative = text.charCodeAt(0) === 45
    const magnitude = negative ? text.slice(1) : text
    const point = magnitude.indexOf('.')
    const whole = point < 0 ? magnitude : magnitude.slice(0, point)
    const fraction = (point < 0 ? '' : magnitude.slice(point + 1)).padEnd(this.#priceDecimals, '0')
    const floor = Number(whole + fraction.slice(0, this.#priceDecimals))
    const rest = Number(`0.${fraction.slice(this.#priceDecimals)}`)
    // Bounds in magnitude, then turned round for a negative price.
    let low = floor
    let high = floor + 1
    if (floor >= REGULAR_PRICE_MAX) {
      low = REGULAR_PRICE_MAX
      high = Number.MAX_VALUE
    }
    let candidate = floor + rest
    if (negative) {
      const swap = low
      low = -high
      high = -swap
      candidate = -candidate
    }
    if (position > 0) low = Math.max(low, this.#prices[position - 1].key)
    if (position < this.#prices.length) high = Math.min(high, this.#prices[position].key)
    if (candidate > low && candidate < high) return candidate
    const middle = low / 2 + high / 2
    if (middle > low && middle < high) return middle
    throw new ObfeedError(
      'E_DECODE',
      `price ${text} has no room left between its neighbours in the book; expected fewer prices ` +
        `with more than ${this.#priceDecimals} decimals; raise the instrument's price decimals`,
      { scope: 'symbol' },
    )
  }
}
