/**
 * Where ccxt 4.5.84 puts a REST snapshot and the changes around it together wrongly, and the book
 * goes on without a sign that something is missing. Everything else it does wrong is either noticed
 * (and mended by a new subscription) or a reason not to serve the exchange.
 */
import type { CcxtBook, CcxtExchange, CcxtSide } from './ccxt-client.ts'

type Change = Readonly<Record<string, unknown>>

/** A book as ccxt's own classes write to it. */
type OwnBook = CcxtBook & { nonce: unknown }

interface RestSynced extends CcxtExchange {
  getCacheIndex(book: CcxtBook, cache: readonly Change[]): number
  handleDelta(book: OwnBook, change: Change): void
  handleBooksideDelta(side: CcxtSide, levels: unknown): void
}

function integerOf(value: unknown): number {
  return value === undefined || value === null ? NaN : Number(value)
}

/**
 * The first change after the snapshot, by the last number of each; -1 when the snapshot is older
 * than what comes before the first one, so that something is missing.
 */
function firstAfter(
  book: CcxtBook,
  cache: readonly Change[],
  first: (change: Change) => number,
  last: (change: Change) => number,
): number {
  const nonce = integerOf(book.nonce)
  if (Number.isNaN(nonce) || (cache.length > 0 && !(first(cache[0]!) <= nonce + 1))) return -1
  const index = cache.findIndex((change) => last(change) > nonce)
  return index < 0 ? cache.length : index
}

/** ccxt drops the change that the snapshot lies in the middle of, with what came after it. */
function mexc(exchange: RestSynced): void {
  // `version` alone on the contract channel.
  const from = (change: Change) => integerOf(change['fromVersion'] ?? change['version'])
  const to = (change: Change) => integerOf(change['toVersion'] ?? change['version'])
  exchange.getCacheIndex = (book, cache) => firstAfter(book, cache, from, to)
  exchange.handleDelta = (book, change) => {
    const nonce = integerOf(book.nonce)
    if (to(change) <= nonce) return
    if (!(from(change) <= nonce + 1)) {
      throw new Error(`sequence ${from(change)} was received, ${nonce + 1} was expected`)
    }
    book.nonce = to(change)
    exchange.handleBooksideDelta(book.asks, change['asks'] ?? [])
    exchange.handleBooksideDelta(book.bids, change['bids'] ?? [])
  }
}

/** ccxt drops all changes it has kept unless one has exactly the time of the snapshot. */
function bitstamp(exchange: RestSynced): void {
  const time = (change: Change) => integerOf(change['microtimestamp'])
  exchange.getCacheIndex = (book, cache) => {
    const index = firstAfter(book, cache, time, time)
    // A time has no successor: the snapshot must not be older than the first change.
    return index === 0 ? -1 : index
  }
}

const repairs: Readonly<Record<string, (exchange: RestSynced) => void>> = { mexc, bitstamp }

export function repair(exchange: CcxtExchange): void {
  repairs[exchange.id]?.(exchange as RestSynced)
}
