/** Compares every valid state a consumer has with the states the simulated exchange really had. */
import type { SimulatedExchange } from '../../src/simulator/exchange.ts'
import type { ConsumerBook, TopicConsumer } from '../../test/support/consumer.ts'

type Rows = readonly (readonly [price: string, size: string])[]

/** How far before the newest known state a new run may begin: REST books lag. */
const LOOK_BACK = 200

interface Progress {
  epoch: number
  version: number
}

/**
 * A state is true when it is the exchange's book at some version, and versions only rise within an
 * epoch: what a consumer could not tell from the exchange by any means.
 */
export class BookJudge {
  /** In words. */
  readonly problems: string[] = []
  compared = 0
  readonly #exchange: SimulatedExchange
  /** The book may be known in part: then as far as it goes. */
  readonly #isPart: boolean
  readonly #provenDepth: number
  readonly #progress = new Map<string, Progress>()

  /** `provenDepth`: levels a side that the exchange gives the means to prove. */
  constructor(
    exchange: SimulatedExchange,
    consumer: TopicConsumer,
    isPart: boolean,
    provenDepth: number,
  ) {
    this.#exchange = exchange
    this.#isPart = isPart
    this.#provenDepth = provenDepth
    consumer.onState = (symbol, book) => this.#judge(symbol, book)
  }

  #judge(symbol: string, book: ConsumerBook): void {
    const depth = Math.min(book.depth, this.#provenDepth)
    const bids = sorted(book.bids, -1).slice(0, depth)
    const asks = sorted(book.asks, 1).slice(0, depth)
    const now = this.#exchange.version(symbol)
    let progress = this.#progress.get(symbol)
    if (progress === undefined || progress.epoch !== book.epoch) {
      const from = progress === undefined ? 0 : Math.max(0, progress.version - LOOK_BACK)
      progress = { epoch: book.epoch, version: from }
      this.#progress.set(symbol, progress)
    }
    this.compared++
    for (let version = progress.version; version <= now; version++) {
      const truth = this.#exchange.bookAt(symbol, version, depth)
      if (truth === undefined) continue
      if (!this.#equals(truth.bids, bids) || !this.#equals(truth.asks, asks)) continue
      progress.version = version
      return
    }
    this.problems.push(
      `${symbol} epoch ${book.epoch} seq ${book.seq}: a valid book that the exchange never had ` +
        `from version ${progress.version} to ${now}`,
    )
    // Once said is enough: the next ones are judged on their own.
    this.#progress.delete(symbol)
  }

  #equals(truth: Rows, held: Rows): boolean {
    if (held.length > truth.length || (!this.#isPart && held.length !== truth.length)) return false
    return held.every(([price, size], i) => truth[i][0] === price && truth[i][1] === size)
  }
}

function sorted(levels: ReadonlyMap<string, string>, direction: number): Rows {
  return [...levels].sort((a, b) => direction * (Number(a[0]) - Number(b[0])))
}
