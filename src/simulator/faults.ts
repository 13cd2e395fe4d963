/** Faults: when they strike, and those that lie between the exchange and a socket. */
import { ObfeedError } from '../core/errors.ts'
import type { Random } from './random.ts'

/** Strike the frames of one connection on their way out. */
export const LINE_FAULTS = [
  'drop',
  'duplicate',
  'cut',
  'reorder',
  'disconnect',
  'half-open',
  'delay',
] as const
/** Strike inside any exchange, with what they do. An exchange may have more, with names of its own. */
export const EXCHANGE_FAULTS: Readonly<Record<string, string>> = {
  'stall': 'updates of a symbol stop on a connection until it is subscribed anew',
  'wrong-snapshot': 'a snapshot that crosses (stale) or lacks a level (missing)',
  'crossed': 'an update that crosses the book',
  'refuse': 'a subscription is refused',
  'ignore': 'a subscription is never answered',
  'slow': 'a snapshot comes late, 3 s unless a time is given',
  'delist': 'a symbol is listed no more',
  'rest-error': 'a REST request is answered with 429 (or 418, 500, 503, timeout if given)',
  'rest-short': 'a REST snapshot ends before as many levels as were asked for',
  'rest-lag': 'a REST snapshot is far too old',
}

export type LineFaultKind = typeof LINE_FAULTS[number]
/** A line fault, one of `EXCHANGE_FAULTS`, or one that the exchange itself has a name for. */
export type FaultKind = string

/**
 * What strikes and when. An opportunity is a frame of a connection (for `wrong-snapshot` a
 * snapshot, for `stall`, `crossed` and `delist` an update, for `refuse`, `ignore` and `slow` a
 * subscription of one symbol, for `rest-error`, `rest-short` and `rest-lag` a request, for an exchange's own
 * faults a tick of a connection). With nothing given the next one is hit.
 */
export interface FaultSpec {
  readonly kind: FaultKind
  /** Each opportunity is hit with this probability, without end unless `count` is given. */
  readonly probability?: number
  /** The opportunities that are let pass first; counted by connection for line faults. */
  readonly after?: number
  /** The first opportunity of each period is hit, without end unless `count` is given. */
  readonly everyMs?: number
  /** Hits in all; 1 unless the trigger is without end. */
  readonly count?: number
  /** Only this connection id. */
  readonly connection?: number
  /** Only this product, by any of its names; exchange faults only. */
  readonly symbol?: string
  /** `delay`: how long the line holds its frames back; `slow`: how late the snapshot is. */
  readonly delayMs?: number
  /**
   * `wrong-snapshot`: `stale` (default) has a level that crosses the book, so that a consumer can
   * notice; `missing` lacks one, which nothing on the wire can tell: it is declared instead.
   * `rest-error`: a status, or `timeout` (never answered).
   */
  readonly variant?: string
}

export function isExchangeFault(kind: FaultKind): boolean {
  return !(LINE_FAULTS as readonly string[]).includes(kind)
}

function usage(message: string): ObfeedError {
  return new ObfeedError('E_USAGE', message, { scope: 'agent', exitCode: 64 })
}

const FORMS = 'a probability (0.001), a frame number (500), a period (30s, 200ms) or a symbol'
const SYMBOL = /^t?[A-Z0-9]{2,}(?:[-_/:][A-Z0-9]+)*$/
/** `BTC/USDT:USDT` is one argument, in spite of its colon. */
const ARGUMENT = /:([A-Z0-9]+\/[A-Z0-9]+:[A-Z][A-Z0-9]*(?:-\d{6})?|[^:]*)/gy

/**
 * `kind[:argument[:argument]]`: `drop:0.001` strikes each frame with that probability, `drop:500`
 * the 500th frame of each connection, `disconnect:30s` once per period, `stall:BTC-USD` the next
 * opportunity of that symbol; `delay` and `slow` take their length last (`delay:0.01:200ms`),
 * `wrong-snapshot` its variant (`wrong-snapshot:0.1:missing`) and `rest-error` too
 * (`rest-error:30s:503`). `own` are the names that the exchange has for its own faults.
 */
export function parseFault(text: string, own: readonly string[] = []): FaultSpec {
  const trimmed = text.trim()
  const kind = trimmed.split(':')[0]!
  const kinds: readonly string[] = [...LINE_FAULTS, ...Object.keys(EXCHANGE_FAULTS), ...own]
  if (!kinds.includes(kind)) {
    throw usage(`fault is "${text}", expected one of ${kinds.join(', ')}`)
  }
  const spec: { -readonly [Key in keyof FaultSpec]: FaultSpec[Key] } = { kind }
  const rest = [...trimmed.slice(kind.length).matchAll(ARGUMENT)].map((match) => match[1]!)
  rest.forEach((argument, position) => {
    const period = /^(\d+(?:\.\d+)?)(ms|s)$/.exec(argument)
    const last = position === rest.length - 1
    if (period !== null) {
      const ms = Number(period[1]) * (period[2] === 's' ? 1000 : 1)
      if ((kind === 'delay' || kind === 'slow') && last) spec.delayMs = ms
      else if (ms > 0) spec.everyMs = ms
      else throw usage(`fault "${text}": the period is "${argument}", expected more than 0`)
    } else if (kind === 'rest-error' && /^(?:[45]\d\d|timeout)$/.test(argument)) {
      spec.variant = argument
    } else if (/^\d+$/.test(argument) && Number(argument) >= 1) {
      spec.after = Number(argument) - 1
    } else if (/^\d*\.\d+$|^0$/.test(argument)) {
      spec.probability = Number(argument)
    } else if (argument === 'stale' || argument === 'missing') {
      spec.variant = argument
    } else if (SYMBOL.test(argument)) {
      spec.symbol = argument
    } else {
      throw usage(`fault "${text}": the argument is "${argument}", expected ${FORMS}`)
    }
  })
  return spec
}

/** Checks a fault that came from outside as JSON. */
export function faultFrom(value: unknown, own: readonly string[] = []): FaultSpec {
  if (typeof value === 'string') return parseFault(value, own)
  if (value === null || typeof value !== 'object') {
    throw usage('fault is not an object, expected {"kind": "drop", ...}')
  }
  const fields = value as Record<string, unknown>
  const kind = fields['kind']
  if (typeof kind !== 'string') throw usage('fault has no "kind", expected one such as "drop"')
  parseFault(kind.replaceAll(':', '?'), own)
  for (const name of ['probability', 'after', 'everyMs', 'count', 'connection', 'delayMs']) {
    const field = fields[name]
    if (field !== undefined && !(typeof field === 'number' && field >= 0)) {
      throw usage(`fault "${kind}": ${name} is ${JSON.stringify(field)}, expected a number >= 0`)
    }
  }
  return value as FaultSpec
}

/** Decides at each opportunity whether a fault strikes. */
export class Trigger {
  readonly spec: FaultSpec
  readonly #random: Random
  #left: number
  #pass: number
  /** Set at the first opportunity, so that no clock is needed to arm a fault. */
  #dueMs = NaN

  constructor(spec: FaultSpec, random: Random) {
    const endless = spec.probability !== undefined || spec.everyMs !== undefined
    this.spec = spec
    this.#random = random
    this.#left = spec.count ?? (endless ? Infinity : 1)
    this.#pass = spec.after ?? 0
  }

  get spent(): boolean {
    return this.#left <= 0
  }

  hit(nowMs: number): boolean {
    if (this.#left <= 0) return false
    if (this.#pass > 0) {
      this.#pass--
      return false
    }
    const { probability, everyMs } = this.spec
    if (probability !== undefined && this.#random.next() >= probability) return false
    if (everyMs !== undefined) {
      if (Number.isNaN(this.#dueMs)) this.#dueMs = nowMs + everyMs
      if (nowMs < this.#dueMs) return false
      this.#dueMs = nowMs + everyMs
    }
    this.#left--
    return true
  }

  /** The opportunity could not be used after all. */
  refund(): void {
    this.#left++
  }
}

export interface LineOutput {
  /** The receiver owns the bytes. */
  frame(bytes: Uint8Array): void
  /** The socket must end at once, without a closing handshake. */
  cut(): void
}

/**
 * The way out of one connection. Without faults a frame passes straight through. All time comes
 * in; nothing is sent after `cut`.
 */
export class FaultLine {
  readonly connection: number
  /** The socket stays, nothing passes in either direction any more. */
  silent = false
  /** Hits by kind. */
  readonly hits: Partial<Record<FaultKind, number>> = {}
  readonly #random: Random
  readonly #output: LineOutput
  #triggers: Trigger[] = []
  #swap: Uint8Array | undefined
  #held: Uint8Array[] = []
  #heldUntilMs = 0
  #ended = false

  constructor(connection: number, random: Random, output: LineOutput) {
    this.connection = connection
    this.#random = random
    this.#output = output
  }

  /** Exchange faults and those of other connections are ignored. */
  add(spec: FaultSpec): void {
    if (isExchangeFault(spec.kind)) return
    if (spec.connection !== undefined && spec.connection !== this.connection) return
    this.#triggers.push(new Trigger(spec, this.#random))
  }

  /** Disarms everything; a line that is silent or held stays so. */
  clear(): void {
    this.#triggers = []
  }

  frame(bytes: Uint8Array, nowMs: number): void {
    if (this.silent || this.#ended) return
    if (this.#triggers.length > 0) {
      for (const trigger of this.#triggers) {
        if (!trigger.hit(nowMs)) continue
        const kind = trigger.spec.kind
        this.hits[kind] = (this.hits[kind] ?? 0) + 1
        if (trigger.spent) this.#triggers = this.#triggers.filter((one) => one !== trigger)
        this.#strike(trigger.spec, bytes, nowMs)
        return
      }
    }
    this.#pass(bytes)
  }

  /** Releases what was held back until now. */
  tick(nowMs: number): void {
    if (this.#held.length === 0 || nowMs < this.#heldUntilMs) return
    const held = this.#held
    this.#held = []
    for (const bytes of held) {
      if (this.silent || this.#ended) return
      this.#output.frame(bytes)
    }
  }

  /** When `tick` has something to do; Infinity when never. */
  get nextDueMs(): number {
    return this.#held.length > 0 ? this.#heldUntilMs : Infinity
  }

  #strike(spec: FaultSpec, bytes: Uint8Array, nowMs: number): void {
    switch (spec.kind) {
      case 'drop':
        return
      case 'duplicate':
        this.#pass(bytes)
        this.#pass(bytes.slice())
        return
      case 'cut':
        this.#pass(bytes.slice(0, this.#random.below(Math.max(1, bytes.length))))
        return
      case 'reorder':
        // With one frame waiting already, both go out in turned order.
        if (this.#swap === undefined) this.#swap = bytes
        else this.#pass(bytes)
        return
      case 'disconnect':
        this.#ended = true
        this.#output.cut()
        return
      case 'half-open':
        this.silent = true
        return
      case 'delay':
        this.#heldUntilMs = Math.max(this.#heldUntilMs, nowMs + (spec.delayMs ?? 100))
        this.#held.push(bytes)
        return
      default:
        this.#pass(bytes)
    }
  }

  #pass(bytes: Uint8Array): void {
    this.#send(bytes)
    const swapped = this.#swap
    if (swapped === undefined) return
    this.#swap = undefined
    this.#send(swapped)
  }

  /** A held line keeps its order: later frames wait behind. */
  #send(bytes: Uint8Array): void {
    if (this.#held.length > 0) this.#held.push(bytes)
    else this.#output.frame(bytes)
  }
}
