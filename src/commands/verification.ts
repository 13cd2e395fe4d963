/** What `tap --verify` proves: one replica per symbol, what was seen of it, and the verdict. */
import type { Outcome } from '../core/replica.ts'
import { Replica } from '../core/replica.ts'

export interface SymbolReport {
  readonly symbol: string
  readonly partition: number
  /** A whole snapshot was loaded at least once. */
  readonly proven: boolean
  readonly state: 'live' | 'invalid' | 'waiting'
  readonly epoch: number
  readonly seq: number
  /** How old its news are: since the exchange spoke of it last, or proved its stream. */
  readonly newsSeconds: number | undefined
  /** Deltas and snapshots that are no checkpoints. */
  readonly updates: number
  readonly updatesPerSecond: number
  readonly checkpoints: number
  readonly invalids: number
  readonly gaps: number
  readonly duplicates: number
  readonly zombies: number
  readonly crossed: number
  readonly mismatches: number
}

/** Latencies in ms; undefined when nothing new came. */
export interface LatencyReport {
  readonly p50: number
  readonly p99: number
}

export interface VerificationReport {
  /** The proof holds for every symbol. */
  readonly ok: boolean
  /** Why it does not, one sentence each. */
  readonly failures: readonly string[]
  readonly records: number
  readonly seconds: number
  readonly symbols: readonly SymbolReport[]
  /** `host/pid/version` of everyone who published them; more than one: see the README. */
  readonly producers: readonly string[]
  /** From the hand-over to the producer until here. */
  readonly published: LatencyReport | undefined
  /** From the exchange's frame until here. */
  readonly received: LatencyReport | undefined
}

interface Watched {
  readonly replica: Replica
  readonly partition: number
  readonly counts: Record<Outcome, number>
  proven: boolean
  crossed: number
  /** Updates since the reading caught up. */
  fresh: number
}

/** Counts microseconds in steps of about 5 %. */
class LatencyHistogram {
  readonly #counts = new Uint32Array(600)
  #total = 0

  add(us: number): void {
    const bucket = us <= 1 ? 0 : Math.min(599, Math.floor(Math.log(us) * 20))
    this.#counts[bucket] += 1
    this.#total += 1
  }

  report(): LatencyReport | undefined {
    if (this.#total === 0) return undefined
    return { p50: this.#quantile(0.5), p99: this.#quantile(0.99) }
  }

  #quantile(share: number): number {
    const rank = Math.ceil(this.#total * share)
    let seen = 0
    let bucket = 0
    while (bucket < 599 && (seen += this.#counts[bucket]) < rank) bucket += 1
    return Math.round(Math.exp((bucket + 0.5) / 20)) / 1000
  }
}

/** Every time comes from the caller. */
export class Verification {
  records = 0
  readonly #watched = new Map<string, Watched>()
  readonly #producers = new Set<string>()
  readonly #startedMs: number
  readonly #published = new LatencyHistogram()
  readonly #received = new LatencyHistogram()

  constructor(partitions: ReadonlyMap<string, number>, startedMs: number) {
    this.#startedMs = startedMs
    for (const [symbol, partition] of partitions) {
      this.#watched.set(symbol, {
        replica: new Replica(symbol),
        partition,
        counts: {
          snapshot: 0,
          delta: 0,
          checkpoint: 0,
          duplicate: 0,
          zombie: 0,
          gap: 0,
          invalid: 0,
          heartbeat: 0,
          waiting: 0,
          mismatch: 0,
          unknown: 0,
        },
        proven: false,
        crossed: 0,
        fresh: 0,
      })
    }
  }

  /**
   * Undefined: a symbol that is not watched. The age of what was published at `liveSinceUs` or later
   * says how long the way is; what is older waited for the reading to begin.
   */
  receive(
    symbol: string,
    value: Uint8Array,
    liveSinceUs: number,
    nowUs: number,
    producer?: string,
  ): Outcome | undefined {
    const watched = this.#watched.get(symbol)
    if (watched === undefined) return undefined
    this.records += 1
    if (producer !== undefined) this.#producers.add(producer)
    const { replica, counts } = watched
    const outcome = replica.receive(value)
    counts[outcome] += 1
    const isUpdate = outcome === 'snapshot' || outcome === 'delta'
    if (isUpdate) {
      if (replica.valid) watched.proven = true
      if (replica.isCrossed) watched.crossed += 1
    }
    const event = replica.event
    if (isUpdate && event !== undefined && event.publishedUs >= liveSinceUs) {
      watched.fresh += 1
      this.#published.add(nowUs - event.publishedUs)
      this.#received.add(nowUs - event.receivedUs)
    }
    return outcome
  }

  /** `nowMs` on the clock of the constructor, `nowUs` since 1970. */
  report(nowMs: number, nowUs: number): VerificationReport {
    const seconds = Math.max(0.001, (nowMs - this.#startedMs) / 1000)
    const symbols = [...this.#watched].map(([symbol, watched]) =>
      reportOf(symbol, watched, seconds, nowUs)
    )
    const failures = symbols.flatMap(failuresOf)
    return {
      ok: failures.length === 0,
      failures,
      records: this.records,
      seconds,
      symbols,
      producers: [...this.#producers],
      published: this.#published.report(),
      received: this.#received.report(),
    }
  }
}

function reportOf(
  symbol: string,
  watched: Watched,
  seconds: number,
  nowUs: number,
): SymbolReport {
  const { replica, partition, counts, proven, crossed, fresh } = watched
  return {
    symbol,
    partition,
    proven,
    state: replica.valid ? 'live' : counts.invalid > 0 ? 'invalid' : 'waiting',
    epoch: replica.epoch,
    seq: replica.seq,
    newsSeconds: replica.lastUs > 0 ? Math.max(0, nowUs - replica.lastUs) / 1e6 : undefined,
    updates: counts.snapshot + counts.delta,
    updatesPerSecond: fresh / seconds,
    checkpoints: counts.checkpoint,
    invalids: counts.invalid,
    gaps: counts.gap + replica.missed,
    duplicates: counts.duplicate,
    zombies: counts.zombie,
    crossed,
    // An event that cannot be read and a removal of nothing also tell of two different books.
    mismatches: counts.mismatch + counts.unknown + replica.orphans,
  }
}

function failuresOf(report: SymbolReport): string[] {
  const { symbol, proven, gaps, crossed, mismatches } = report
  const failures: string[] = []
  if (!proven) failures.push(`${symbol} was never proven: no whole snapshot came`)
  if (gaps > 0) failures.push(`${symbol} had ${gaps} gaps inside an epoch`)
  if (crossed > 0) failures.push(`${symbol} was crossed ${crossed} times`)
  if (mismatches > 0) {
    failures.push(`${symbol} differed from its checkpoint or could not be read ${mismatches} times`)
  }
  return failures
}

const COLUMNS: readonly (readonly [string, (row: SymbolReport) => string])[] = [
  ['SYMBOL', (row) => row.symbol],
  ['PARTITION', (row) => `${row.partition}`],
  ['PROVEN', (row) => row.proven ? 'yes' : 'no'],
  ['STATE', (row) => row.state],
  ['EPOCH', (row) => row.epoch < 0 ? '-' : `${row.epoch}`],
  ['SEQ', (row) => row.seq < 0 ? '-' : `${row.seq}`],
  ['NEWS', (row) => row.newsSeconds === undefined ? '-' : `${row.newsSeconds.toFixed(1)} s`],
  ['UPDATES', (row) => `${row.updates}`],
  ['PER SECOND', (row) => row.updatesPerSecond.toFixed(1)],
  ['CHECKPOINTS', (row) => `${row.checkpoints}`],
  ['INVALID', (row) => `${row.invalids}`],
  ['GAPS', (row) => `${row.gaps}`],
  ['DUPLICATES', (row) => `${row.duplicates}`],
  ['ZOMBIES', (row) => `${row.zombies}`],
  ['CROSSED', (row) => `${row.crossed}`],
  ['MISMATCHES', (row) => `${row.mismatches}`],
]

/** The live table, without a final line end. At most `rowsMax` symbols, those in trouble first. */
export function renderReport(report: VerificationReport, rowsMax = Infinity): string {
  const sorted = [...report.symbols].sort((a, b) => troubleOf(b) - troubleOf(a))
  const shown = sorted.slice(0, rowsMax)
  const rows = [
    COLUMNS.map(([title]) => title),
    ...shown.map((row) => COLUMNS.map(([, cell]) => cell(row))),
  ]
  const widths = COLUMNS.map((_, i) => Math.max(...rows.map((row) => row[i].length)))
  const lines = rows.map((row) =>
    row.map((cell, i) => i === 0 ? cell.padEnd(widths[i]) : cell.padStart(widths[i])).join('  ')
  )
  if (shown.length < sorted.length) lines.push(`... and ${sorted.length - shown.length} more`)
  lines.push(renderTotals(report))
  return lines.join('\n')
}

/** One line. */
export function renderTotals(report: VerificationReport): string {
  const { symbols, producers, published, received } = report
  const sum = (member: (row: SymbolReport) => number) =>
    symbols.reduce((total, row) => total + member(row), 0)
  const latency = (name: string, found: LatencyReport | undefined) =>
    found === undefined ? '' : `, ${name} p50 ${found.p50} ms p99 ${found.p99} ms`
  return `${report.ok ? 'proven' : 'NOT PROVEN'}: ` +
    `${symbols.filter((row) => row.proven).length} of ${symbols.length} books, ` +
    `${symbols.filter((row) => row.state === 'live').length} live, ` +
    `${sum((row) => row.updatesPerSecond).toFixed(1)} updates/s, ` +
    `${sum((row) => row.gaps)} gaps, ${sum((row) => row.duplicates)} duplicates, ` +
    `${sum((row) => row.crossed)} crossed, ${sum((row) => row.mismatches)} mismatches, ` +
    `${producers.length} producer${producers.length === 1 ? '' : 's'}` +
    (producers.length > 1 ? ` (${producers.join(', ')})` : '') +
    latency('published', published) + latency('received', received)
}

function troubleOf(row: SymbolReport): number {
  return (row.gaps + row.crossed + row.mismatches > 0 ? 4 : 0) + (row.proven ? 0 : 2) +
    (row.state === 'live' ? 0 : 1)
}
