/**
 * Every exchange that ccxt can watch the order books of, through one adapter. ccxt speaks the
 * exchange's protocol on sockets of its own; what it makes of each message comes to the feed as one
 * frame of ours. Prices and sizes have passed through a double: a text of more than 15 digits is
 * the shortest one of the same double. ccxt does not check the sequence everywhere, so no loss is
 * claimed to be noticed.
 */
import type { Adapter, Protocol } from './adapter.ts'
import { type CcxtClass, ccxtClasses } from './ccxt-classes.ts'
import type { CcxtConstructor } from './ccxt-client.ts'
import { segmentOf } from './ccxt-market.ts'
import { CcxtSession } from './ccxt-session.ts'
import { CcxtPseudoSocket, placeholderUrl } from './ccxt-socket.ts'

export interface CcxtListing {
  readonly id: string
  readonly works: boolean
  /** Why it does not. */
  readonly reason?: string
  readonly protocol: Protocol
}

function rowOf(exchange: string): CcxtClass | undefined {
  return Object.hasOwn(ccxtClasses, exchange) ? ccxtClasses[exchange] : undefined
}

/** Levels a side at most; undefined: not known to be limited. */
function depthOf({ depths, levels }: CcxtClass): number | undefined {
  return levels ?? depths?.at(-1)
}

function protocolOf(row: CcxtClass): Protocol {
  return { snapshot: 'inband', loss: 'none', lossScope: 'symbol', depth: depthOf(row) ?? 'full' }
}

/** All that ccxt can watch the order books of; what does not work has its reason. */
export function ccxtExchanges(): CcxtListing[] {
  return Object.entries(ccxtClasses).map(([id, row]) => ({
    id,
    works: row.refused === undefined,
    ...(row.refused === undefined ? {} : { reason: row.refused }),
    protocol: protocolOf(row),
  }))
}

/** The class of ccxt that watches an exchange; it lists the markets, too. */
export async function loadCcxtClass(exchange: string): Promise<CcxtConstructor | undefined> {
  const loaded = await rowOf(exchange)?.load()
  // ccxt's own declarations are looser than what is used of it.
  return loaded?.default as CcxtConstructor | undefined
}

/** Undefined when ccxt cannot watch its books, or not without API keys (see `ccxtExchanges`). */
export function ccxtAdapter(exchange: string): Adapter | undefined {
  const row = rowOf(exchange)
  if (row === undefined || row.refused !== undefined) return undefined
  const most = depthOf(row)
  return {
    exchange,
    protocol: protocolOf(row),
    limits: {
      symbolsPerConnection: 20,
      // Of ours, not of the exchange's: ccxt paces its own.
      framesPerSecond: 20,
      connectsPerSecond: 2,
      subscribeWithinMs: 60_000,
      frameBytesMax: 256 * 1024 * 1024,
    },
    url: () => placeholderUrl(exchange),
    ...(most === undefined ? {} : {
      depth: (wanted) => ({ view: wanted === 0 ? most : Math.min(wanted, most), kept: Infinity }),
    }),
    segment: segmentOf,
    open: (instruments, output, depth) => new CcxtSession(exchange, instruments, output, depth),
    openSocket: (url, events, instruments, restUrl) =>
      new CcxtPseudoSocket(exchange, row, url, events, instruments, restUrl),
  }
}
