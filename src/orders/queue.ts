/**
 * Where in the queue of its price an order stands, which levels alone do not say: a decrease may be
 * a trade or a cancel, before the order or behind it.
 */
import { log } from '../core/math.ts'

export interface QueueModel {
  /** `worst` and `best` are bounds, the others estimates between them. */
  readonly kind: 'worst' | 'best' | 'power' | 'log'
  /** Of `power`: how much surer the longer part of the queue is to shrink. */
  readonly n: number
}

const POWER_MAX = 10

/** `worst`, `best`, `log`, `power:3`; undefined: none of them. */
export function parseQueueModel(text: string): QueueModel | undefined {
  if (text === 'worst' || text === 'best' || text === 'log') return { kind: text, n: 0 }
  const match = /^power:(\d+)$/.exec(text)
  const n = Number(match?.[1])
  return n >= 1 && n <= POWER_MAX ? { kind: 'power', n } : undefined
}

function weight(model: QueueModel, x: number): number {
  if (model.kind === 'log') return log(1 + x)
  let product = 1
  for (let i = 0; i < model.n; i++) product *= x
  return product
}

/**
 * Size before an order after its level went from `before` to `after`.
 *
 * @param ahead others' size before the order, part of `before`
 */
export function aheadAfter(
  model: QueueModel,
  ahead: number,
  before: number,
  after: number,
): number {
  const decrease = before - after
  let now = ahead
  if (decrease > 0) {
    if (model.kind === 'best') now = ahead - decrease
    else if (model.kind !== 'worst') {
      const back = before - ahead
      const heavy = weight(model, back)
      const p = heavy / (heavy + weight(model, ahead))
      // An empty level cannot shrink; 0/0 is nobody behind and nobody before.
      const share = p === p ? p : 1
      now = ahead - (1 - share) * decrease + Math.min(back - share * decrease, 0)
    }
  }
  return Math.max(0, Math.min(now, after))
}

/** The same where events are missing between the two. */
export function aheadAfterGap(model: QueueModel, ahead: number, after: number): number {
  if (model.kind === 'worst') return after
  return model.kind === 'best' ? 0 : Math.min(ahead, after)
}
