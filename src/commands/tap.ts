/** `obfeed tap`: reads the topic back as a consumer would; prints its events or proves its books. */
import { Buffer } from 'node:buffer'
import process from 'node:process'
import { defineCommand } from 'citty'
import { resolveSettings } from '../config/config.ts'
import { didYouMean } from '../config/nearest.ts'
import { readPartitionMap } from '../config/partition-map.ts'
import type { Settings } from '../config/settings.ts'
import { EXIT, ObfeedError } from '../core/errors.ts'
import type { Outcome } from '../core/replica.ts'
import { Replica } from '../core/replica.ts'
import { KafkaClient } from '../kafka/client.ts'
import { OutageLog } from '../kafka/outage.ts'
import type { Position, ReadOptions, TopicRecord } from '../kafka/reader.ts'
import { readTopic } from '../kafka/reader.ts'
import { configureLog, log } from '../telemetry/log.ts'
import { integerFlag, numberFlag, settingArgs, usageError } from './flags.ts'
import { renderReport, renderTotals, Verification } from './verification.ts'

/** Read before the interval of checkpoints began, for clocks that differ. */
const MARGIN_MS = 5_000
const REDRAW_MS = 1_000
const LINE_MS = 5_000
/** Unread output at which reading the topic pauses. */
const OUTPUT_BYTES_MAX = 4 * 1024 * 1024
const NEWLINE = 10

/** Events that tell a consumer something; a zombie or a duplicate does not. */
const PRINTED: ReadonlySet<Outcome> = new Set<Outcome>([
  'snapshot',
  'delta',
  'checkpoint',
  'invalid',
  'heartbeat',
  'mismatch',
])

/** What stands before the levels is shorter. */
const HEADER_BYTES = 1024
/** No string of an event holds a quote. */
const PART = /"part":(\d+),"parts":/

interface Tap {
  readonly client: KafkaClient
  readonly topic: string
  /** Symbol -> partition. */
  readonly symbols: ReadonlyMap<string, number>
  readonly from: ReadOptions['from']
  readonly limit: number
  readonly controller: AbortController
}

/** 23 days: a timer counts no further. */
const SECONDS_MAX = 2_000_000

export default defineCommand({
  meta: { name: 'tap', description: 'Reads the topic back and shows or verifies its books' },
  args: {
    ...settingArgs([
      'exchange',
      'map',
      'brokers',
      'topic',
      'snapshotIntervalMs',
      'kafkaUsername',
      'kafkaMechanism',
      'kafkaTls',
      'logLevel',
      'logFormat',
    ]),
    symbol: { type: 'string', valueHint: 'LIST', description: 'only these symbols of the map' },
    from: {
      type: 'enum',
      options: ['interval', 'latest', 'earliest'],
      default: 'interval',
      description: 'where to begin; interval = early enough to hold a snapshot of every book',
    },
    verify: { type: 'boolean', description: 'prove every book instead of printing events' },
    seconds: { type: 'string', valueHint: 'N', description: 'end after this long' },
    limit: { type: 'string', valueHint: 'N', description: 'end after so many events' },
    json: {
      type: 'boolean',
      description: 'with --verify: the report as one JSON object at the end',
    },
  },
  async run({ args }) {
    const flags: Readonly<Record<string, unknown>> = args
    const { settings, warnings } = resolveSettings({ flags })
    configureLog({ level: settings.logLevel, format: settings.logFormat, name: 'tap' })
    for (const warning of warnings) log.warn(warning)
    const text = (name: string) => flags[name] as string | undefined
    const seconds = numberFlag('seconds', text('seconds'), { min: 0.001, max: SECONDS_MAX })
    const limit = integerFlag('limit', text('limit'), { min: 1, max: Number.MAX_SAFE_INTEGER })
    const controller = new AbortController()
    const stop = () => controller.abort()
    const timer = seconds === undefined ? undefined : setTimeout(stop, seconds * 1000)
    process.once('SIGINT', stop)
    process.once('SIGTERM', stop)
    const tap: Tap = {
      client: clientOf(settings),
      topic: settings.topic,
      symbols: chooseSymbols(settings.map, text('symbol')),
      from: startOf(text('from'), settings),
      limit: limit ?? Infinity,
      controller,
    }
    try {
      if (flags['verify'] === true) await verify(tap, flags['json'] === true)
      else await printEvents(tap)
    } finally {
      clearTimeout(timer)
      process.off('SIGINT', stop)
      process.off('SIGTERM', stop)
    }
  },
})

function clientOf(settings: Settings): KafkaClient {
  const { brokers, kafkaUsername, kafkaPassword, kafkaMechanism, kafkaTls } = settings
  const hasLogin = kafkaUsername !== undefined && kafkaPassword !== undefined &&
    kafkaMechanism !== undefined
  return new KafkaClient({
    brokers,
    clientId: 'obfeed-tap',
    tls: kafkaTls === true,
    ...(hasLogin
      ? {
        sasl: { mechanism: kafkaMechanism, username: kafkaUsername, password: kafkaPassword },
      }
      : {}),
    log: (_, message) => log.debug(message),
  })
}

function startOf(from: string | undefined, settings: Settings): ReadOptions['from'] {
  if (from === 'latest' || from === 'earliest') return from
  return { timestampMs: Date.now() - 2 * settings.snapshotIntervalMs - MARGIN_MS }
}

function chooseSymbols(mapPath: string, list: string | undefined): ReadonlyMap<string, number> {
  const all = new Map<string, number>()
  for (const { symbol, partition } of readPartitionMap(mapPath).entries) all.set(symbol, partition)
  if (list === undefined) return all
  const chosen = new Map<string, number>()
  for (const word of list.split(',')) {
    const symbol = word.trim()
    const partition = all.get(symbol)
    if (partition === undefined) {
      const meant = didYouMean(symbol, [...all.keys()])
      throw usageError(
        `--symbol "${symbol}" is not in ${mapPath}${meant || '; expected symbols of the map'}`,
      )
    }
    chosen.set(symbol, partition)
  }
  return chosen
}

/** Reads until the end is asked for. */
function read(
  tap: Tap,
  rest: Pick<ReadOptions, 'onRecord' | 'onStart' | 'pace'>,
): Promise<void> {
  const outage = new OutageLog(tap.client.brokers, log)
  return readTopic(tap.client, {
    topic: tap.topic,
    partitions: [...new Set(tap.symbols.values())],
    from: tap.from,
    signal: tap.controller.signal,
    onRetry: (error) =>
      outage.waiting(performance.now(), tap.client.reach.lastError ?? error.message),
    onBack: () => outage.well(performance.now()),
    onUnreadable(partition, offset, reason) {
      log.error(`partition ${partition}: records from offset ${offset} on are left out: ${reason}`)
    },
    ...rest,
  })
}

function nowUs(): number {
  return (performance.timeOrigin + performance.now()) * 1000
}

async function printEvents(tap: Tap): Promise<void> {
  const replicas = new Map<string, Replica>()
  for (const symbol of tap.symbols.keys()) replicas.set(symbol, new Replica(symbol))
  const output = new Output()
  /** By symbol: the parts of a snapshot, from the first on, until it is whole. */
  const parts = new Map<string, Uint8Array[]>()
  let printed = 0
  await read(tap, {
    onRecord(record) {
      const replica = replicas.get(record.key)
      if (replica === undefined || printed >= tap.limit) return
      const outcome = replica.receive(record.value)
      if (outcome === 'gap' || outcome === 'unknown' || outcome === 'mismatch') {
        const { partition, offset } = record
        log.warn(`${record.key}: ${outcome}`, { partition, offset })
      }
      const part = PART.exec(Buffer.from(record.value.subarray(0, HEADER_BYTES)).toString())?.[1]
      if (part === '0') parts.set(record.key, [])
      if (part !== undefined && outcome === 'waiting') parts.get(record.key)?.push(record.value)
      if (!PRINTED.has(outcome)) return
      const lines = part === undefined ? [] : parts.get(record.key) ?? []
      for (const line of [...lines, record.value]) output.line(line)
      if (part !== undefined) parts.delete(record.key)
      printed += lines.length + 1
      if (printed >= tap.limit) tap.controller.abort()
    },
    pace: () => output.drained(),
  })
  await output.drained(0)
}

async function verify(tap: Tap, asJson: boolean): Promise<void> {
  const verification = new Verification(tap.symbols, performance.now())
  let positions: ReadonlyMap<number, Position> = new Map()
  /** By partition: when the reading reached what was the end as it began. */
  const liveSinceUs = new Map<number, number>()
  const redraws = process.stdout.isTTY === true && !asJson
  let drawn = 0
  const draw = () => {
    const report = verification.report(performance.now(), nowUs())
    if (!redraws) {
      if (!asJson) process.stdout.write(`${renderTotals(report)}\n`)
      return
    }
    const table = renderReport(report, Math.max(5, (process.stdout.rows ?? 24) - 4))
    process.stdout.write(`${drawn > 0 ? `\x1b[${drawn}A` : ''}\x1b[J${table}\n`)
    drawn = table.split('\n').length
  }
  const timer = setInterval(draw, redraws ? REDRAW_MS : LINE_MS)
  try {
    await read(tap, {
      onStart(found) {
        positions = found
        for (const [partition, { start, end }] of found) {
          if (start >= end) liveSinceUs.set(partition, nowUs())
        }
      },
      onRecord(record: TopicRecord) {
        if (verification.records >= tap.limit) return
        const { key, value, partition, offset, producer } = record
        const now = nowUs()
        const since = liveSinceUs.get(partition) ?? Infinity
        const outcome = verification.receive(key, value, since, now, producer)
        if (since === Infinity && offset + 1 >= (positions.get(partition)?.end ?? 0)) {
          liveSinceUs.set(partition, now)
        }
        if (outcome === 'gap' || outcome === 'mismatch' || outcome === 'unknown') {
          log.warn(`${key}: ${outcome}`, { partition, offset })
        }
        if (verification.records >= tap.limit) tap.controller.abort()
      },
    })
  } finally {
    clearInterval(timer)
  }
  const report = verification.report(performance.now(), nowUs())
  if (redraws && drawn > 0) process.stdout.write(`\x1b[${drawn}A\x1b[J`)
  process.stdout.write(asJson ? `${JSON.stringify(report)}\n` : `${renderReport(report)}\n`)
  if (report.ok) return
  throw new ObfeedError(
    'E_SEQUENCE_GAP',
    `the proof failed: ${report.failures.join('; ')}; expected none of it; is another program ` +
      `writing to ${tap.topic}?`,
    { scope: 'agent', exitCode: EXIT.data },
  )
}

/** stdout, one write per fetch, with a bound on what its reader leaves unread. */
class Output {
  #lines: Uint8Array[] = []
  #unread = 0
  #waiting: { limit: number; resolve: () => void }[] = []
  #queued = false

  line(bytes: Uint8Array): void {
    this.#lines.push(bytes)
    if (this.#queued) return
    this.#queued = true
    queueMicrotask(() => this.#write())
  }

  /** Resolves when at most `limit` bytes wait for the reader; undefined when that is so now. */
  drained(limit = OUTPUT_BYTES_MAX): Promise<void> | undefined {
    this.#write()
    if (this.#unread <= limit) return undefined
    return new Promise((resolve) => this.#waiting.push({ limit, resolve }))
  }

  #write(): void {
    this.#queued = false
    if (this.#lines.length === 0) return
    const size = this.#lines.reduce((total, bytes) => total + bytes.length + 1, 0)
    const whole = Buffer.allocUnsafe(size)
    let at = 0
    for (const bytes of this.#lines) {
      whole.set(bytes, at)
      at += bytes.length
      whole[at++] = NEWLINE
    }
    this.#lines = []
    this.#unread += size
    process.stdout.write(whole, () => {
      this.#unread -= size
      const ready = this.#waiting.filter(({ limit }) => this.#unread <= limit)
      this.#waiting = this.#waiting.filter(({ limit }) => this.#unread > limit)
      for (const { resolve } of ready) resolve()
    })
  }
}
