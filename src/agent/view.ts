/** What the agent shows of itself: readiness, status and metrics are all made from this. */
import type { WorkerPlan } from '../config/plan.ts'
import type { BookStats, FeedStats } from '../feed/stats.ts'
import type { WorkerStats } from './messages.ts'
import { describeRival, rivalsOf } from './rivals.ts'
import type { Totals } from './totals.ts'

/**
 * `starting`: no plan given yet; `running`: the plan is with it; `waiting`: dead, its restart is
 * due; `stopped`: dead and not coming back.
 */
export type WorkerState = 'starting' | 'running' | 'draining' | 'waiting' | 'stopped'

export interface WorkerView {
  readonly id: number
  readonly cpu: number | undefined
  readonly pid: number | undefined
  readonly state: WorkerState
  /** Wall clock, ms; of the running life, or of the last one. */
  readonly startedMs: number
  /** Wall clock of its last message, ms; 0 before the first. */
  readonly heartbeatMs: number
  /** By reason. */
  readonly restarts: Readonly<Record<string, number>>
  readonly plan: WorkerPlan | undefined
  /** Of the running life; undefined while there is none or it has not reported yet. */
  readonly stats: WorkerStats | undefined
  /** Over all lives. */
  readonly totals: Totals
}

export interface AgentView {
  readonly exchange: string
  readonly sink: 'kafka' | 'stdout'
  readonly topic: string
  /** Wall clock, ms. */
  readonly startedMs: number
  readonly draining: boolean
  /** What the parent is still busy with before the plan is out; undefined after. */
  readonly preparing: string | undefined
  readonly workers: readonly WorkerView[]
}

export interface Check {
  readonly name: string
  readonly ok: boolean
  /** Why not, or a short number of what is there. */
  readonly detail: string
}

/** Events that wait longer for their acknowledgement are no news any more. */
const LATE_MS = 5000
/** Symbols named in a reason at most; the rest is counted. */
const NAMED_SYMBOLS = 5

/** Every condition of readiness: all must hold. */
export function readiness(view: AgentView): Check[] {
  const checks: Check[] = [
    check('plan', view.preparing === undefined, view.preparing ?? 'distributed'),
    check('drain', !view.draining, view.draining ? 'draining' : 'not draining'),
  ]
  if (view.preparing !== undefined) return checks
  for (const worker of view.workers) {
    const name = `worker-${worker.id}`
    const up = worker.state === 'running' && worker.stats !== undefined
    checks.push(check(name, up, up ? `pid ${worker.pid}` : `${worker.state}, not reporting`))
    if (up) {
      const fault = sinkFault(worker.stats)
      checks.push(
        check(`${view.sink}-${worker.id}`, fault === undefined, fault ?? 'connected'),
      )
    }
  }
  checks.push(exchangeCheck(view))
  const resting = notTraded(view)
  checks.push(check('markets', true, resting.length === 0 ? 'all traded' : resting.join(', ')))
  if (view.sink === 'kafka') {
    const rivals = rivalsOf(view.workers)
    const detail = rivals.length === 0 ? 'no other' : rivals.map(describeRival).join('; ')
    checks.push(check('producers', rivals.length === 0, detail))
  }
  checks.push(booksCheck(view))
  return checks
}

/** Undefined: events arrive, and in time. */
function sinkFault(stats: WorkerStats | undefined): string | undefined {
  if (stats?.sink.connected !== true) return 'not connected'
  if (stats.sink.oldestMs <= LATE_MS) return undefined
  const late = `events are ${Math.floor(stats.sink.oldestMs / 1000)} s late`
  const { isThrottled = false, throttleMs = 0 } = stats.kafka ?? {}
  return isThrottled ? `${late}, throttled by the broker ${Math.round(throttleMs)} ms` : late
}

/** An address that is refused matters as long as a book is missing: live ones go on. */
function exchangeCheck(view: AgentView): Check {
  const feeds = view.workers.flatMap(({ stats }) => stats === undefined ? [] : [stats.feed])
  const held = feeds.reduce<FeedStats | undefined>(
    (most, feed) => feed.heldMs > (most?.heldMs ?? 0) ? feed : most,
    undefined,
  )
  if (held === undefined) return check('exchange', true, 'does not refuse this address')
  const seconds = Math.ceil(held.heldMs / 1000)
  const detail = `${held.held}: this address is refused, asked again in ${seconds} s`
  return check('exchange', booksCheck(view).ok, detail)
}

/** Symbols that are not traded at present; they keep nothing from being ready. */
export function notTraded(view: AgentView): string[] {
  return view.workers.flatMap(({ plan }) => plan?.dormant ?? [])
    .map(({ symbol, reason }) => `${symbol} (${reason})`)
}

function isLive(book: BookStats): boolean {
  return book.state === 'live' && !book.stale
}

function booksCheck(view: AgentView): Check {
  let total = 0
  const missing: string[] = []
  for (const worker of view.workers) {
    const live = new Set<string>()
    const reasons = new Map<string, string>()
    for (const book of worker.stats?.feed.books ?? []) {
      if (isLive(book)) live.add(book.symbol)
      else reasons.set(book.symbol, book.stale ? 'stale' : book.reason ?? book.state)
    }
    for (const symbol of plannedSymbols(worker.plan)) {
      total++
      if (!live.has(symbol)) missing.push(`${symbol} (${reasons.get(symbol) ?? 'no worker'})`)
    }
  }
  if (missing.length === 0) return check('books', total > 0, `${total} of ${total} live`)
  const named = missing.slice(0, NAMED_SYMBOLS).join(', ')
  const more = missing.length > NAMED_SYMBOLS ? ` and ${missing.length - NAMED_SYMBOLS} more` : ''
  return check('books', false, `${total - missing.length} of ${total} live; not: ${named}${more}`)
}

/** Symbols of a plan, in stream order. */
export function plannedSymbols(plan: WorkerPlan | undefined): string[] {
  return plan === undefined ? [] : plan.connections.flat().map((planned) => planned.symbol)
}

function check(name: string, ok: boolean, detail: string): Check {
  return { name, ok, detail }
}
