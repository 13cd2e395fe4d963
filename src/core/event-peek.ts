/** What the head of an event's bytes says, without reading its levels. */
import { Buffer } from 'node:buffer'

export interface EventPeek {
  readonly type: string
  readonly epoch: number
  readonly seq: number
  /** The exchange's sequence; text when it has no safe integer. */
  readonly nonce: number | string | undefined
  /** Exchange time, ms; undefined when not told. */
  readonly timestampMs: number | undefined
  readonly reason: string | undefined
}

/** Names of exchange and symbol are short; everything else before the levels is a number. */
const HEAD_BYTES = 640
const HEAD =
  /^\{"v":1,"type":"(\w+)",.*?"epoch":(\d{1,16}),"seq":(\d{1,16})(?:,"nonce":(\d{1,16}|"[^"]{1,64}"))?(?:,"timestamp":(\d{1,16}|null))?(?:,"reason":"(\w+)")?/

/** Undefined: not an event as obfeed writes them. */
export function peekEvent(value: Uint8Array): EventPeek | undefined {
  const head = Buffer.from(value.buffer, value.byteOffset, Math.min(value.length, HEAD_BYTES))
  const found = HEAD.exec(head.toString('utf8'))
  if (found === null) return undefined
  const [, type, epoch, seq, nonce, timestamp, reason] = found
  return {
    type,
    epoch: Number(epoch),
    seq: Number(seq),
    nonce: nonce === undefined
      ? undefined
      : nonce.startsWith('"')
      ? nonce.slice(1, -1)
      : Number(nonce),
    timestampMs: timestamp === undefined || timestamp === 'null' ? undefined : Number(timestamp),
    reason,
  }
}
