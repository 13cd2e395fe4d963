/** The wire format, version 1, as a consumer sees it after JSON.parse, and its vocabulary. */

/** Why a book must not be used until a higher epoch's snapshot. */
export type InvalidReason =
  | 'gap'
  | 'checksum'
  | 'crossed'
  | 'disconnect'
  | 'stale'
  | 'overflow'
  | 'moved'
  | 'delisted'
  | 'shutdown'

/** How a loss on this symbol would be noticed. Never more than the adapter checks. */
export type Proof = 'sequence' | 'checksum' | 'both' | 'none'

export type EventType = 'snapshot' | 'delta' | 'invalid' | 'heartbeat'

/** `[price, size]`; in the JSON text both are the exchange's own decimals, size 0 removes. */
export type Level = readonly [price: number, size: number]

export interface EventHeader {
  readonly v: 1
  readonly type: EventType
  /** ccxt exchange id. */
  readonly exchange: string
  /** ccxt unified symbol. */
  readonly symbol: string
  /** When this unbroken run began, ms; strictly greater for every new run of a symbol. */
  readonly epoch: number
  /**
   * 0 for the epoch's first snapshot, +1 for every delta or invalid. Also 0 for the only record of
   * an epoch that just takes back what a writer which died had published: an invalid.
   */
  readonly seq: number
  /** Microseconds since 1970 when the frame reached user code. */
  readonly receivedUs: number
  /** Microseconds since 1970 when the event was handed to the producer. */
  readonly publishedUs: number
}

export interface SnapshotEvent extends EventHeader {
  readonly type: 'snapshot'
  readonly nonce?: number | string
  readonly timestamp: number | null
  readonly proof: Proof
  /** Levels a side at most; absent for a full book. */
  readonly depth?: number
  /** Only on a snapshot split over several records: part i of parts, same epoch and seq. */
  readonly part?: number
  readonly parts?: number
  readonly bids: readonly Level[]
  readonly asks: readonly Level[]
}

export interface DeltaEvent extends EventHeader {
  readonly type: 'delta'
  readonly nonce?: number | string
  readonly timestamp: number | null
  readonly bids: readonly Level[]
  readonly asks: readonly Level[]
}

export interface InvalidEvent extends EventHeader {
  readonly type: 'invalid'
  readonly reason: InvalidReason
}

/** Repeats the last `seq`: silence can be told from absence. */
export interface HeartbeatEvent extends EventHeader {
  readonly type: 'heartbeat'
  readonly state: 'live' | 'invalid'
  /**
   * When the exchange spoke of the symbol last, or proved its stream, microseconds since 1970;
   * absent: it never did.
   */
  readonly lastUs?: number
}

export type BookEvent = SnapshotEvent | DeltaEvent | InvalidEvent | HeartbeatEvent
