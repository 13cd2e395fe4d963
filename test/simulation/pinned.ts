/** Worlds that failed once, each with what was wrong; they stay whole. */

export interface Pinned {
  readonly exchange: string
  readonly seed: number
  readonly found: string
}

export const PINNED: readonly Pinned[] = [
  {
    exchange: 'bybit',
    seed: 866880535,
    found: 'feed: after the exchange counted anew, a book of before took the place of the live one',
  },
  {
    exchange: 'binance',
    seed: 6032,
    found:
      'feed: a book taken over from one dead socket by another that was dead as well stayed live',
  },
  { exchange: 'bybit', seed: 3100014328, found: 'feed: the same with two sockets at once' },
  {
    exchange: 'bitfinex',
    seed: 3100012625,
    found: 'oracle: a checksum was expected before a line that was held up could bring it',
  },
  {
    exchange: 'bitfinex',
    seed: 3100007000,
    found: 'adapter: a maintenance whose beginning was lost left its books live for good',
  },
  { exchange: 'bitfinex', seed: 3100034396, found: 'adapter: the same beside a second socket' },
  {
    exchange: 'okx',
    seed: 3100011182,
    found: 'adapter: frames that came late were taken for what keeps the exchange from closing',
  },
  {
    exchange: 'binance',
    seed: 3100024791,
    found: 'oracle: a book that a given up socket hands back was expected to stay lost',
  },
  {
    exchange: 'okx',
    seed: 4200003737,
    found: 'feed: books of one socket were asked for one by one, and the last not in time',
  },
  {
    exchange: 'binance',
    seed: 4200002001,
    found: 'oracle: what a dead worker had under way was expected to be known to its successor',
  },
  {
    exchange: 'binanceusdm',
    seed: 4200003946,
    found: 'adapter: a stream that never spoke on this socket was believed by REST alone',
  },
  {
    exchange: 'okx',
    seed: 4000000124,
    found: 'oracle: a book that changed over was taken for that of the socket it came from',
  },
  { exchange: 'bitfinex', seed: 4000000723, found: 'oracle: the same of a checkpoint' },
  {
    exchange: 'bybit',
    seed: 4000000692,
    found: 'feed: the next socket was renewed while it carried some of the books',
  },
  {
    exchange: 'okx',
    seed: 4000010688,
    found: 'feed: a market that stood still was asked for symbol by symbol, more than may be said',
  },
  {
    exchange: 'bitfinex',
    seed: 4000020114,
    found: 'feed: a book that was asked for again on the old socket made the next one look late',
  },
  { exchange: 'kraken', seed: 4000020253, found: 'feed: the same' },
  {
    exchange: 'coinbase',
    seed: 4300009106,
    found: 'feed: books that differ beyond the view were taken for the same',
  },
]
