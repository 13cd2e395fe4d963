/**
 * A book as strategies and signals see it: a view over `core/book` that holds what the stream said
 * of it. Levels are read when they are asked for, a few at a time, and only once per event.
 */
import type { Book as CoreBook } from '../core/book.ts'
import type { Side as CoreSide } from '../core/side.ts'
import { isRegularPrice } from '../core/wide.ts'
import type { Book, BookRef, Side } from './contract.ts'

/** Levels that are read at first; every further reading doubles them. */
const FIRST_READ = 8

/** Powers of ten that a double holds exactly. */
const POW10 = Array.from({ length: 23 }, (_, i) => Number(`1e${i}`))

const NO_LEVEL: readonly [string, string] = ['', '']

export class SideView implements Side {
  /** Our resting sizes inside the book's, by scaled price; undefined: they are not in it. */
  resting: ReadonlyMap<number, number> | undefined = undefined
  readonly #book: CoreBook
  readonly #side: CoreSide
  readonly #priceUnit: number
  readonly #sizeUnit: number
  #price: Float64Array<ArrayBuffer> = new Float64Array(FIRST_READ)
  #size: Float64Array<ArrayBuffer> = new Float64Array(FIRST_READ)
  #read = 0

  constructor(book: CoreBook, side: CoreSide) {
    this.#book = book
    this.#side = side
    this.#priceUnit = POW10[book.priceDecimals] ?? 10 ** book.priceDecimals
    this.#sizeUnit = POW10[book.sizeDecimals] ?? 10 ** book.sizeDecimals
  }

  /** The book changed: what was read of it is no longer so. */
  forget(): void {
    this.#read = 0
  }

  get count(): number {
    return this.#side.count
  }

  price(i: number): number {
    if (i >= this.#read && !this.#reach(i)) return NaN
    const price = this.#price[i]
    if (isRegularPrice(price)) return price / this.#priceUnit
    return Number(this.#book.priceText(price))
  }

  size(i: number): number {
    if (i >= this.#read && !this.#reach(i)) return NaN
    const size = this.#size[i]
    return size >= 0 ? size / this.#sizeUnit : Number(this.#book.sizeText(size))
  }

  text(i: number): readonly [string, string] {
    if (i >= this.#read && !this.#reach(i)) return NO_LEVEL
    return [this.#book.priceText(this.#price[i]), this.#book.sizeText(this.#size[i])]
  }

  own(i: number): number {
    const resting = this.resting
    if (resting === undefined || resting.size === 0) return 0
    if (i >= this.#read && !this.#reach(i)) return 0
    return (resting.get(this.#price[i]) ?? 0) / this.#sizeUnit
  }

  /** False: there is no such level. */
  #reach(i: number): boolean {
    if (!(i >= 0 && i < this.#side.count)) return false
    let capacity = this.#price.length
    if (i >= capacity) {
      while (i >= capacity) capacity *= 2
      this.#price = new Float64Array(capacity)
      this.#size = new Float64Array(capacity)
    } else if (this.#read === 0) {
      // What a deep look has made room for is not read again for every glance.
      capacity = Math.min(capacity, FIRST_READ)
      while (i >= capacity) capacity *= 2
    }
    this.#read = this.#side.read(0, capacity, this.#price, this.#size)
    return i < this.#read
  }
}

export class LiveBook implements Book {
  readonly ref: BookRef
  readonly book: CoreBook
  readonly bids: SideView
  readonly asks: SideView
  /** Proven and fresh. */
  valid = false
  epoch = -1
  seq = -1
  nonce: number | string | undefined = undefined
  timestamp: number | undefined = undefined
  receivedUs = 0
  /** When the exchange last spoke of it, as far as was told; its age counts from here. */
  lastUs = 0
  proof = 'none'
  /** The clock that its age is told by. */
  clock: { readonly nowUs: number } = { nowUs: 0 }

  constructor(ref: BookRef, book: CoreBook) {
    this.ref = ref
    this.book = book
    this.bids = new SideView(book, book.bids)
    this.asks = new SideView(book, book.asks)
  }

  /** Two hosts' clocks: never below 0. */
  get ageUs(): number {
    const age = this.clock.nowUs - Math.max(this.lastUs, this.receivedUs)
    return age > 0 ? age : 0
  }

  /** Call it after every change of `book`. */
  changed(): void {
    this.bids.forget()
    this.asks.forget()
  }
}
