/** What the base of all simulated exchanges is told: rules, options, and where its frames go. */
import type { FaultSpec } from './faults.ts'
import type { Market } from './market.ts'
import type { MarketsOptions } from './markets.ts'
import type { Listing, Product } from './products.ts'
import type { Limit } from './rate-limit.ts'

/** What an exchange enforces. Absent: not limited. */
export interface ExchangeLimits {
  /** Connection attempts, as if all came from one IP; over it they are refused. */
  readonly connects?: Limit
  readonly connectionsOpen?: number
  /** Client messages over all connections, or on each. */
  readonly messages?: Limit & { readonly per: 'exchange' | 'connection' }
  /** Protocol pings and pongs count as messages. */
  readonly pingsCount?: boolean
  /** Subscribe and unsubscribe requests of each connection; the exchange takes them by `request`. */
  readonly requests?: Limit
  readonly subscriptionsPerConnection?: number
  readonly subscribeWithinMs?: number
  /** Closed when nothing was sent by one side, or by either, for so long. */
  readonly idle?: {
    readonly afterMs: number
    readonly of: 'sent' | 'received' | 'either'
    readonly reason: string
    /** It is the client's duty to prevent it. */
    readonly isViolation: boolean
  }
  /** Protocol pings of the exchange; the connection ends without a pong. */
  readonly ping?: { readonly everyMs: number; readonly pongWithinMs: number }
  readonly lifetimeMs?: number
  /** Of REST requests. */
  readonly weight?: Limit
}

/** Facts about an exchange that hold without an instance of it. */
export interface ExchangeRules {
  /** ccxt id. */
  readonly exchange: string
  readonly listing: Listing
  /** What `obfeed simulate` lists when nothing is asked for. */
  readonly defaultSymbols: readonly string[]
  readonly limits: ExchangeLimits
  /** What a subscription brings first. */
  readonly first: 'ack' | 'data'
  /** Faults that only this exchange has: name -> what it does. They strike one connection. */
  readonly faults?: Readonly<Record<string, string>>
  /** Changes of one version are sent one by one, even of one price; else each price once. */
  readonly sendsEveryChange?: boolean
  /** A version without changes gives a frame without levels in windowed channels too. */
  readonly sendsEmptyFrames?: boolean
  /** Frames prove the book: a snapshot without a level is noticed. */
  readonly hasChecksum?: boolean
  /** Checksums come in frames of their own, some time behind what they prove. */
  readonly checksumsFollow?: boolean
  /** Levels a side of the smallest REST book on offer: `rest-short` leaves as many. 1. */
  readonly leastLevels?: number
  /** Other names of a product. */
  aliases?(product: Product): string[]
}

export interface ExchangeOptions extends MarketsOptions {
  /** Market frames per second over all products, whether somebody listens or not. 100. */
  readonly rate?: number
  /** Changes per frame, on average; they are 1 to 2 updates - 1, now and then none. 2. */
  readonly updates?: number
  /** Versions of one book leave in one frame at most so often; 0: each in a frame of its own. 0. */
  readonly pushMs?: number
  /** Client rules by the second instead of the exchange's own. */
  readonly connectsPerSecond?: number
  readonly messagesPerSecond?: number
  /** Replaces limits one by one. */
  readonly limits?: Partial<ExchangeLimits>
  /** What a client message over the limit costs: an error reply (and no effect), or the socket. */
  readonly overLimit?: 'error' | 'disconnect'
  /** One unknown product: the whole message is refused, or it is skipped. Each exchange has a habit. */
  readonly unknownProduct?: 'refuse' | 'skip'
  /** What a subscription brings first, in place of the exchange's habit. */
  readonly first?: 'ack' | 'data'
  /** Milliseconds until a subscription is acknowledged, from its first data if that is first. 5. */
  readonly ackDelayMs?: number
  /** REST books are up to so many versions older, or newer than what was sent. 8 and 2. */
  readonly restLag?: { readonly older: number; readonly newer: number }
  /** Levels of snapshots per tick, over all connections; at least one snapshot. 60,000. */
  readonly snapshotLevelsPerTick?: number
  /** After a pause in ticks at most this much of the market is caught up with. 1,000. */
  readonly catchUpMs?: number
  readonly faults?: readonly FaultSpec[]
}

/** Called from within `receive`, `tick` and `advance`; of the exchange it may call `disconnected`. */
export interface ExchangeOutput {
  /** One text frame; the receiver owns the bytes. */
  frame(connection: number, bytes: Uint8Array): void
  /** The exchange ends the connection; it forgets it with this call. */
  close(connection: number, code: number, reason: string): void
  /** False holds the next snapshot of this connection back until a later tick. */
  ready?(connection: number): boolean
  /** A protocol ping; without this there are none, and no pong is waited for. */
  ping?(connection: number): void
}

export interface ExchangeStats {
  connectionsOpen: number
  connectionsOpened: number
  connectionsRefused: number
  /** Client messages. */
  messages: number
  /** Rules broken by clients; `SimulatedExchange.violations` says which. */
  violations: number
  errors: number
  framesSent: number
  bytesSent: number
  /** Market frames made, whether sent or not. */
  versions: number
  /** REST requests, and those refused for being too many. */
  requests: number
  requestsRefused: number
}

export function noStats(): ExchangeStats {
  return {
    connectionsOpen: 0,
    connectionsOpened: 0,
    connectionsRefused: 0,
    messages: 0,
    violations: 0,
    errors: 0,
    framesSent: 0,
    bytesSent: 0,
    versions: 0,
    requests: 0,
    requestsRefused: 0,
  }
}

/** A rule that a client broke. */
export interface Violation {
  /** Such as `connects`, `messages`, `subscribe-within`. */
  readonly rule: string
  readonly detail: string
  /** 0: none, or a REST request. */
  readonly connection: number
  readonly atMs: number
}

/** A REST book: `[ticks, lots]`, best first. */
export interface RestBook {
  readonly market: Market
  readonly version: number
  readonly bids: [ticks: number, lots: number][]
  readonly asks: [ticks: number, lots: number][]
}

/** What becomes of a subscription of one product. */
export type Verdict = 'ok' | 'refuse' | 'ignore'

/** The exchange's own limits, where the options say nothing else. */
export function limitsOf(rules: ExchangeRules, options: ExchangeOptions): ExchangeLimits {
  const limits = { ...rules.limits, ...options.limits }
  const { connectsPerSecond, messagesPerSecond } = options
  return {
    ...limits,
    ...(connectsPerSecond === undefined
      ? {}
      : { connects: { count: connectsPerSecond, perMs: 1000 } }),
    ...(messagesPerSecond === undefined ? {} : {
      messages: {
        count: messagesPerSecond,
        perMs: 1000,
        per: limits.messages?.per ?? 'exchange' as const,
      },
    }),
  }
}
