/**
 * An independent consumer of the topic: the consumer rule of the wire format, written apart from
 * `src/core/replica.ts` so that neither copies the mistake of the other.
 */

/** One side as decimal texts, best first. */
export type TextLevels = (readonly [price: string, size: string])[]

/** A record value, with the levels in their own decimal text. */
export interface ReadEvent {
  readonly type: string
  readonly symbol: string
  readonly epoch: number
  readonly seq: number
  readonly nonce: number | undefined
  /** The exchange's time in ms; -1: it said none. */
  readonly timestamp: number
  /** Levels a side that a snapshot claims to be the best ones; 0: all that there are. */
  readonly depth: number
  readonly reason: string | undefined
  readonly part: number
  readonly parts: number
  readonly bids: TextLevels
  readonly asks: TextLevels
}

const NO_LEVELS: TextLevels = []

/** Takes one record value apart; throws on what is not an event of version 1. */
export function readEvent(text: string): ReadEvent {
  const json = JSON.parse(text)
  if (json.v !== 1 || typeof json.type !== 'string' || typeof json.symbol !== 'string') {
    throw new Error(`not an event of version 1: ${text.slice(0, 200)}`)
  }
  if (!Number.isSafeInteger(json.epoch) || !Number.isSafeInteger(json.seq) || json.seq < 0) {
    throw new Error(`epoch or seq is not an integer: ${text.slice(0, 200)}`)
  }
  const booked = json.type === 'snapshot' || json.type === 'delta'
  return {
    type: json.type,
    symbol: json.symbol,
    epoch: json.epoch,
    seq: json.seq,
    nonce: json.nonce,
    timestamp: json.timestamp ?? -1,
    depth: json.depth ?? 0,
    reason: json.reason,
    part: json.part ?? 0,
    parts: json.parts ?? 1,
    bids: booked ? readLevels(text, '"bids":', json.bids.length) : NO_LEVELS,
    asks: booked ? readLevels(text, '"asks":', json.asks.length) : NO_LEVELS,
  }
}

function readLevels(text: string, name: string, count: number): TextLevels {
  if (count === 0) return []
  const begin = text.indexOf(name) + name.length
  const end = text.indexOf(']]', begin)
  const levels: TextLevels = []
  for (const pair of text.slice(begin + 2, end).split('],[')) {
    const comma = pair.indexOf(',')
    const price = pair.slice(0, comma).trim()
    const size = pair.slice(comma + 1).trim()
    if (!CANONICAL.test(price) || !CANONICAL.test(size)) {
      throw new Error(`level [${pair}] is not canonical decimal text`)
    }
    levels.push([price, size])
  }
  if (levels.length !== count) throw new Error(`${levels.length} levels read of ${count}`)
  return levels
}

const CANONICAL = /^-?(0|[1-9]\d*)(\.\d*[1-9])?$/

/** What the rule made of an event. */
export type Verdict = 'loaded' | 'applied' | 'dropped' | 'invalid' | 'gap' | 'heartbeat'

/** One symbol's book as a strategy would hold it. */
export class ConsumerBook {
  valid = false
  epoch = -1
  seq = -1
  nonce: number | undefined = undefined
  /** See `ReadEvent`; `depth` of the last snapshot. */
  timestamp = -1
  depth = 0
  /** An `invalid` of the running epoch was read: only a higher epoch helps. */
  #ended = false
  #bids: TextLevels = []
  #asks: TextLevels = []
  #parts: ReadEvent[] = []

  receive(event: ReadEvent): Verdict {
    if (event.epoch < this.epoch) return 'dropped'
    if (event.epoch > this.epoch) {
      this.epoch = event.epoch
      this.seq = -1
      this.valid = false
      this.#ended = false
      this.#parts = []
    }
    if (event.type === 'snapshot') return this.#snapshot(event)
    if (event.type === 'delta') return this.#delta(event)
    if (event.type === 'invalid') {
      this.valid = false
      this.#ended = true
      this.seq = event.seq
      return 'invalid'
    }
    return 'heartbeat'
  }

  get bidCount(): number {
    return this.#bids.length
  }

  get askCount(): number {
    return this.#asks.length
  }

  /** The book as one text, best levels first: compares equal exactly when the books do. */
  text(depth = 0): string {
    return bookText(this.#bids, this.#asks, depth)
  }

  #snapshot(event: ReadEvent): Verdict {
    if (this.#ended || event.seq < this.seq) return 'dropped'
    let { bids, asks } = event
    if (event.parts > 1) {
      if (event.part === 0) this.#parts = []
      const first = this.#parts[0]
      if (this.#parts.length !== event.part || (first !== undefined && first.seq !== event.seq)) {
        this.#parts = []
        return 'dropped'
      }
      this.#parts.push(event)
      if (this.#parts.length < event.parts) return 'dropped'
      bids = this.#parts.flatMap((part) => part.bids)
      asks = this.#parts.flatMap((part) => part.asks)
      this.#parts = []
    }
    this.#bids = bids.slice()
    this.#asks = asks.slice()
    this.seq = event.seq
    this.nonce = event.nonce
    this.timestamp = event.timestamp
    this.depth = event.depth
    this.valid = true
    return 'loaded'
  }

  #delta(event: ReadEvent): Verdict {
    if (!this.valid || event.seq <= this.seq) return 'dropped'
    if (event.seq !== this.seq + 1) {
      this.valid = false
      return 'gap'
    }
    for (const level of event.bids) place(this.#bids, level, -1)
    for (const level of event.asks) place(this.#asks, level, 1)
    this.seq = event.seq
    this.nonce = event.nonce
    this.timestamp = event.timestamp
    return 'applied'
  }
}

/** Sets, replaces or removes a level in a side sorted by `direction` times price. */
function place(
  side: TextLevels,
  level: readonly [string, string],
  direction: number,
): void {
  const price = Number(level[0]) * direction
  let i = 0
  while (i < side.length && Number(side[i]![0]) * direction < price) i++
  const exists = side[i]?.[0] === level[0]
  if (level[1] === '0') {
    if (exists) side.splice(i, 1)
  } else if (exists) {
    side[i] = level
  } else {
    side.splice(i, 0, level)
  }
}

/** See `ConsumerBook.text`; `depth` 0 takes all. */
export function bookText(bids: TextLevels, asks: TextLevels, depth = 0): string {
  let text = ''
  const bidCount = depth === 0 ? bids.length : Math.min(depth, bids.length)
  for (let i = 0; i < bidCount; i++) text += bids[i]![0] + ':' + bids[i]![1] + ' '
  text += '|'
  const askCount = depth === 0 ? asks.length : Math.min(depth, asks.length)
  for (let i = 0; i < askCount; i++) text += ' ' + asks[i]![0] + ':' + asks[i]![1]
  return text
}
