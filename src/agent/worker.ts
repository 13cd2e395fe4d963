/** A worker process: its share of the symbols from sockets to sink, under the parent's orders. */
import process from 'node:process'
import { findAdapter } from '../exchanges/index.ts'
import type { PlannedSymbol } from '../core/instrument.ts'
import { EXIT, ObfeedError } from '../core/errors.ts'
import { realEnvironment } from '../feed/environment.ts'
import { Feed } from '../feed/feed.ts'
import { warm } from '../feed/warm.ts'
import type { Sink } from '../sinks/sink.ts'
import { configureLog, flushLog, log, logLastWords, logStats } from '../telemetry/log.ts'
import { KafkaSink, loadKafka, publishedBefore } from './kafka-sink.ts'
import type { FromWorker, ToWorker, WorkerStats } from './messages.ts'
import { buildId, setProcessName } from './runtime.ts'
import { ignoreAllSignals } from './signals.ts'
import { parseWorkerArguments, WORKER_COMMAND, type WorkerArguments } from './worker-arguments.ts'

type Plan = Extract<ToWorker, { type: 'plan' }>

const STATS_MS = 1000
/** Until all books are live for the first time reports come faster: readiness hangs on them. */
const EAGER_STATS_MS = 100
const EAGER_FOR_MS = 15_000
const LAG_MS = 50
/**
 * The parent loads what it needs to ask for the markets first: on a small host it is waited for, so
 * the CPU is its own until it waits for the answer itself.
 */
const WARM_AFTER_MS = 120
/** After the parent is gone: time to publish what is held, and to be gone in any case. */
const ORPHAN_FLUSH_MS = 2000
const ORPHAN_EXIT_MS = 2600
/** A worker that cannot go on still says so in the stream, if that goes quickly. */
const FATAL_FLUSH_MS = 1000
const GOODBYE_MS = 1000
/** Reports a parent that does not read may owe; more are not sent. */
const UNREAD_MAX = 30

/** Runs until the parent lets go; ends the process itself. */
export function runWorker(args: readonly string[] = process.argv.slice(3)): Promise<never> {
  if (process.send === undefined) {
    process.stderr.write(
      `obfeed: ${WORKER_COMMAND} was started by hand, expected an agent that starts it; ` +
        'use `obfeed run`\n',
    )
    process.exit(EXIT.usage)
  }
  new Worker(parseWorkerArguments(args)).run()
  return new Promise(() => {})
}

class Worker {
  readonly #arguments: WorkerArguments
  #feed: Feed | undefined
  #sink: Sink | undefined
  #kafka: KafkaSink | undefined
  #planned = false
  /** Of the plan, since it was sent. */
  readonly #woken: PlannedSymbol[] = []
  /** Draining, orphaned or failed: nothing new is begun. */
  #ending = false
  #lagMs = 0
  #unread = 0

  constructor(args: WorkerArguments) {
    this.#arguments = args
  }

  run(): void {
    setProcessName(`obfeed-w${this.#arguments.id}`)
    configureLog({ level: 'info', format: 'text', name: `worker-${this.#arguments.id}` })
    process.on('uncaughtException', (error) => this.#crash(error))
    process.on('unhandledRejection', (error) => this.#crash(error))
    // A terminal's ^C and a service manager's TERM reach the whole group: the parent decides what
    // they mean. Without it the disconnect has already begun the end.
    ignoreAllSignals()
    process.on('message', (message) => this.#received(message as ToWorker))
    process.on('disconnect', () => void this.#orphaned())
    this.#greet()
    this.#measureLag()
    setInterval(() => this.#report(), STATS_MS)
    void this.#warm()
  }

  #greet(): void {
    this.#send({ type: 'hello', pid: process.pid, buildId: buildId() })
  }

  #measureLag(): void {
    let expected = performance.now() + LAG_MS
    setInterval(() => {
      const now = performance.now()
      this.#lagMs = Math.max(this.#lagMs, now - expected)
      expected = now + LAG_MS
    }, LAG_MS)
  }

  /** Loads and heats what the plan will need, while the parent still asks for the markets. */
  async #warm(): Promise<void> {
    if (this.#arguments.sink === 'kafka') await loadKafka()
    else await import('../sinks/stdout.ts')
    const adapter = await findAdapter(this.#arguments.exchange, this.#arguments.engine)
    if (adapter === undefined) return
    await new Promise((resolve) => setTimeout(resolve, WARM_AFTER_MS))
    await warm(adapter, realEnvironment, () => !this.#planned && !this.#ending)
  }

  #received(message: ToWorker): void {
    switch (message.type) {
      case 'plan':
        return void this.#start(message).catch((error) => this.#fail(error))
      case 'drain':
        return void this.#drain(message.timeoutMs)
      case 'wake':
        if (this.#feed === undefined) this.#woken.push(...message.symbols)
        return this.#feed?.wake(message.symbols)
      case 'held':
        return this.#feed?.hold(message.hold)
      case 'goodbye':
        return void this.#leave()
    }
  }

  async #start(message: Plan): Promise<void> {
    if (this.#planned || this.#ending) return
    this.#planned = true
    const { settings, plan, epochFloor } = message
    configureLog({
      level: settings.logLevel,
      format: settings.logFormat,
      name: `worker-${this.#arguments.id}`,
    })
    const adapter = await findAdapter(settings.exchange, settings.engine)
    if (adapter === undefined) throw new Error(`no adapter for exchange ${settings.exchange}`)
    const made = await makeSink(message)
    const kafka = made instanceof KafkaSink ? made : undefined
    const sink = made instanceof KafkaSink ? made.sink : made
    if (this.#ending) return
    const feed = new Feed(
      {
        adapter,
        plan,
        depth: settings.depth,
        publish: settings.publish,
        snapshotIntervalMs: settings.snapshotIntervalMs,
        ...(settings.wsUrl === undefined ? {} : { wsUrl: settings.wsUrl }),
        ...(settings.restUrl === undefined ? {} : { restUrl: settings.restUrl }),
        epochFloor,
        ...publishedBefore(message.published),
        ...(message.held === undefined ? {} : { held: message.held }),
        onHeld: (hold) => this.#send({ type: 'held', hold }),
        onFatal: (error) => this.#fail(error),
        onNotice: (level, text) => log[level](text),
      },
      realEnvironment,
      sink,
    )
    this.#sink = sink
    this.#kafka = kafka
    this.#feed = feed
    // Both begin at once: books form while the sink connects, and its queue is bounded.
    const started = sink.start(feed.streams, feed.sinkEvents)
    feed.start()
    feed.wake(this.#woken)
    this.#reportEagerly(feed)
    await started
    if (!this.#ending) kafka?.watch(feed, plan)
    this.#report()
  }

  #reportEagerly(feed: Feed): void {
    const until = performance.now() + EAGER_FOR_MS
    const timer = setInterval(() => {
      this.#report()
      const settled = feed.stats.books.every((book) => book.state === 'live')
      if (settled || performance.now() > until) clearInterval(timer)
    }, EAGER_STATS_MS)
    this.#report()
  }

  #stats(feed: Feed, sink: Sink): WorkerStats {
    const { user, system } = process.cpuUsage()
    const loopLagMs = Math.max(0, this.#lagMs)
    this.#lagMs = 0
    return {
      feed: feed.stats,
      sink: sink.stats,
      ...(this.#kafka === undefined ? {} : { kafka: this.#kafka.stats }),
      rssBytes: process.memoryUsage.rss(),
      cpuSeconds: (user + system) / 1e6,
      loopLagMs,
      logs: logStats,
    }
  }

  #report(): void {
    if (this.#unread > UNREAD_MAX) return
    const feed = this.#feed
    const sink = this.#sink
    if (feed === undefined || sink === undefined) this.#greet()
    else this.#send({ type: 'stats', stats: this.#stats(feed, sink) })
  }

  #send(message: FromWorker, sent?: () => void): void {
    if (process.send === undefined || !process.connected) {
      sent?.()
      return
    }
    this.#unread++
    process.send(message, undefined, undefined, () => {
      this.#unread--
      sent?.()
    })
  }

  async #drain(timeoutMs: number): Promise<void> {
    if (this.#ending) return
    this.#ending = true
    const feed = this.#feed
    const sink = this.#sink
    if (feed === undefined || sink === undefined) {
      return this.#send({ type: 'drained', complete: true })
    }
    this.#kafka?.stopWatching()
    feed.drain()
    const complete = await sink.flush(timeoutMs)
    this.#send({ type: 'drained', complete, stats: this.#stats(feed, sink) })
  }

  async #leave(): Promise<void> {
    setTimeout(() => process.exit(EXIT.ok), GOODBYE_MS)
    await this.#sink?.close()
    await flushLog(GOODBYE_MS)
    process.exit(EXIT.ok)
  }

  /** The parent is gone, whatever way: what is held is published, then this ends too. */
  async #orphaned(): Promise<void> {
    setTimeout(() => process.exit(EXIT.ok), ORPHAN_EXIT_MS)
    if (!this.#ending) {
      this.#ending = true
      this.#feed?.drain()
    }
    await this.#sink?.flush(ORPHAN_FLUSH_MS)
    process.exit(EXIT.ok)
  }

  /** The feed or the sink cannot go on. */
  #fail(error: unknown): void {
    if (!(error instanceof ObfeedError)) return this.#crash(error)
    if (this.#ending) return
    this.#ending = true
    // A reader of stdout that has had enough is no error.
    log[error.exitCode === EXIT.ok ? 'info' : 'error'](error.message, { code: error.code })
    const { scope, code, message, exitCode } = error
    this.#send({ type: 'fatal', scope, code, message, exitCode })
    setTimeout(() => process.exit(exitCode), 2 * FATAL_FLUSH_MS)
    // Not from inside the call that found the error: the feed may be in the middle of a frame.
    const writable = code !== 'E_SINK' && code !== 'E_OVERFLOW'
    setImmediate(() => void this.#lastWords(exitCode, writable))
  }

  async #lastWords(exitCode: number, writable: boolean): Promise<void> {
    this.#feed?.drain()
    if (writable) await this.#sink?.flush(FATAL_FLUSH_MS)
    await flushLog(FATAL_FLUSH_MS)
    process.exit(exitCode)
  }

  /** A bug: the state cannot be trusted, so nothing more is published. */
  #crash(error: unknown): void {
    logLastWords('uncaught error, this worker ends', { err: error })
    const message = error instanceof Error ? error.message : String(error)
    setTimeout(() => process.exit(EXIT.software), 200)
    const exit = () => process.exit(EXIT.software)
    this.#send(
      { type: 'fatal', scope: 'worker', code: 'uncaught', message, exitCode: EXIT.software },
      exit,
    )
  }
}

async function makeSink({ settings, producer }: Plan): Promise<Sink | KafkaSink> {
  if (settings.sink === 'stdout') {
    const { StdoutSink } = await import('../sinks/stdout.ts')
    return new StdoutSink(realEnvironment)
  }
  return new KafkaSink(settings, producer, await loadKafka())
}
