/** The parent process of `run`: starts workers, prepares the plan meanwhile, serves, ends. */
import { hostname } from 'node:os'
import process from 'node:process'
import { readKnownSymbols, writeKnownSymbols } from '../config/known-symbols.ts'
import { readPartitionMap, type ResolvedMap, resolveMap } from '../config/partition-map.ts'
import type { DormantSymbol } from '../core/instrument.ts'
import { depthWarning, makePlan, type WorkerPlan } from '../config/plan.ts'
import type { Settings } from '../config/settings.ts'
import { EXIT, ObfeedError } from '../core/errors.ts'
import { foreignError } from '../core/foreign-text.ts'
import { type Adapter, depthOf } from '../exchanges/adapter.ts'
import { log, logStats } from '../telemetry/log.ts'
import type { LastPublished } from '../kafka/last-published.ts'
import { OutageLog } from '../kafka/outage.ts'
import { kafkaOptions } from './kafka-options.ts'
import { reapOrphans } from './orphans.ts'
import { holderOf } from './port-holder.ts'
import { type Layout, layoutWorkers } from './layout.ts'
import { renderMetrics } from './metrics.ts'
import { describeRival, RivalLog, rivalsAtStart, rivalsOf } from './rivals.ts'
import type { WorkerOutput } from './process.ts'
import { RESTART_POLICY, type RestartPolicy } from './restarts.ts'
import { buildId, selfCommand, workerEnvironment } from './runtime.ts'
import { Stopper } from './signals.ts'
import type { StatusServer } from './status.ts'
import { Supervisor } from './supervisor.ts'
import { summarize } from './summary.ts'
import { ThrottleLog } from './throttling.ts'
import { type AgentView, plannedSymbols, readiness } from './view.ts'
import { formatWorkerArguments } from './worker-arguments.ts'

export interface AgentOptions {
  readonly settings: Settings
  readonly adapter: Adapter
  readonly version: string
  readonly commit: string
  readonly policy?: RestartPolicy
}

const READY_CHECK_MS = 100
const SUMMARY_MS = 60_000
const RIVALS_MS = 1000
const OUTAGE_MS = 250
/** What the topic holds is worth so much of a start at most. */
const LAST_PUBLISHED_MS = 2000
/** For workers when the start fails: they have nothing to publish. */
const FAILED_START_DRAIN_MS = 1000

/**
 * Runs until it is stopped or cannot go on; resolves with the exit code when no worker is left.
 * Rejects when it could not be started (wrong map, no market metadata, topic, CPUs, ...).
 */
export async function runAgent(options: AgentOptions): Promise<number> {
  const agent = new Agent(options)
  return await agent.run()
}

class Agent {
  readonly #options: AgentOptions
  readonly #startedMs = Date.now()
  readonly #outage: OutageLog
  readonly #throttling = new ThrottleLog((message) => log.warn(message))
  /** As records carry it. */
  readonly #producer: string
  readonly #supervisor: Supervisor
  readonly #layout: Layout
  readonly #map: ReturnType<typeof readPartitionMap>
  /** Of the map, as far as the exchange listed them when it was used last. */
  #known: ReadonlySet<string> = new Set()
  #dormant: readonly DormantSymbol[] = []
  #preparing: string | undefined = 'loading markets'
  #server: StatusServer | undefined
  readonly #timers: ReturnType<typeof setInterval>[] = []

  constructor(options: AgentOptions) {
    const { settings } = options
    this.#options = options
    this.#outage = new OutageLog(settings.brokers, log)
    this.#producer = `${hostname()}/${process.pid}/${options.version}`
    this.#map = readPartitionMap(settings.map)
    this.#layout = layoutWorkers(settings, this.#map.entries.length)
    const { workers, cpus, taskset } = this.#layout
    const output = outputOf(settings)
    this.#supervisor = new Supervisor({
      seats: Array.from({ length: workers }, (_, id) => ({
        id,
        ...(cpus.length === 0 ? {} : { cpu: cpus[id % cpus.length] }),
      })),
      command: (id) => {
        const { exchange, engine, sink } = settings
        return selfCommand(formatWorkerArguments({ id, exchange, engine, sink }))
      },
      ...(taskset === undefined ? {} : { taskset }),
      environment: workerEnvironment(process.env),
      output,
      ...(output === 'pipe' ? { lines: () => process.stdout } : {}),
      buildId: buildId(),
      producer: this.#producer,
      notice: (level, message, fields) => log[level](message, fields),
      policy: options.policy ?? RESTART_POLICY,
    })
  }

  async run(): Promise<number> {
    const { settings } = this.#options
    const supervisor = this.#supervisor
    const stopper = new Stopper(supervisor, settings.drainTimeoutMs)
    const stopReaping = reapOrphans()
    // At once: the workers load and warm up while the parent asks for markets and topic.
    supervisor.start()
    stopper.watchStdout()
    for (const warning of this.#layout.warnings) log.warn(warning)
    let failure: unknown
    const prepared = this.#prepare().catch((error) => {
      if (supervisor.draining) return
      failure = error
      const exitCode = error instanceof ObfeedError ? error.exitCode : EXIT.software
      supervisor.stop(exitCode, FAILED_START_DRAIN_MS)
    })
    // After the request for the markets is on its way: loading node:http takes a while.
    const server = this.#serve().catch((error) => {
      if (supervisor.draining) return
      failure = error
      supervisor.stop(EXIT.temporary, FAILED_START_DRAIN_MS)
    })
    // Whatever is still being prepared when the end comes is of no interest any more.
    await Promise.race([prepared, supervisor.ended])
    const exitCode = await supervisor.ended
    for (const timer of this.#timers) clearInterval(timer)
    stopper.dispose()
    stopReaping()
    await server
    await this.#server?.close()
    if (failure !== undefined) throw failure
    const { upSeconds, updates, sentRecords } = summarize(this.#view())
    log.info('stopped', { exitCode, upSeconds, updates, records: sentRecords })
    return exitCode
  }

  async #prepare(): Promise<void> {
    const { settings, adapter } = this.#options
    const [plans, published] = await Promise.all([this.#plan(), this.#checkTopic()])
    if (this.#supervisor.draining) return
    this.#meetRivals(published)
    this.#preparing = undefined
    this.#supervisor.assign(settings, plans, published)
    const { cpus } = this.#layout
    for (const warning of depthWarning(adapter, settings.depth)) log.warn(warning)
    const depth = depthOf(adapter, settings.depth).view
    const symbols = plans.reduce((sum, plan) => sum + plannedSymbols(plan).length, 0)
    const sockets = plans.reduce((sum, plan) => sum + plan.connections.length, 0)
    log.info('started', {
      exchange: settings.exchange,
      symbols,
      workers: plans.length,
      cpus: cpus.length === 0 ? 'not pinned' : plans.map((plan) => plan.cpu).join(','),
      sockets,
      sink: settings.sink === 'kafka' ? `kafka ${settings.brokers.join(',')}` : 'stdout',
      topic: settings.sink === 'kafka' ? settings.topic : undefined,
      depth: depth === 0 ? 'full' : depth,
      version: this.#options.version,
    })
    for (const { symbol, reason } of this.#dormant) {
      log.warn(`${symbol}: ${reason}, the others start; it is asked for again`)
    }
    this.#watchDormant()
    this.#awaitReady()
    this.#timers.push(
      setInterval(() => log.info('running', { ...summarize(this.#view()) }), SUMMARY_MS),
    )
    if (settings.sink !== 'kafka') return
    this.#watchRivals()
    this.#watchOutages()
  }

  async #plan(): Promise<WorkerPlan[]> {
    const { exchange } = this.#options.settings
    this.#known = readKnownSymbols(this.#map.path, exchange)
    const { symbols, dormant } = await this.#resolve()
    const names = [...symbols, ...dormant].map(({ symbol }) => symbol)
    const found = writeKnownSymbols(this.#map.path, exchange, names)
    if (found !== undefined) {
      log.debug(`the symbols of the map are not remembered beside it: ${found}`)
    }
    this.#dormant = dormant
    this.#known = new Set(names)
    const { workers, cpus } = this.#layout
    const { limits, segment } = this.#options.adapter
    return makePlan({ symbols, dormant, workers, cpus, limits, segment })
  }

  async #resolve(): Promise<ResolvedMap> {
    const { settings, adapter } = this.#options
    // Only here: a worker must never load it, and by now the workers are on their way.
    const { loadMarkets } = await import('../feed/markets.ts')
    const markets = await loadMarkets(settings.exchange, {
      restUrl: settings.restUrl,
      throughCcxt: settings.engine === 'ccxt',
    })
    return resolveMap(this.#map, markets, adapter, {
      isStrict: settings.strictMap,
      known: this.#known,
    })
  }

  /** Asks from time to time for what is not traded at present. */
  #watchDormant(factor = 1): void {
    if (this.#dormant.length === 0) return
    const { marketsAgainMs } = this.#options.policy ?? RESTART_POLICY
    const timer = setTimeout(async () => {
      try {
        const { symbols, dormant } = await this.#resolve()
        const before = new Set(this.#dormant.map(({ symbol }) => symbol))
        const woken = symbols.filter(({ symbol }) => before.has(symbol))
        this.#dormant = dormant.filter(({ symbol }) => before.has(symbol))
        if (woken.length > 0) {
          log.info('traded again', { symbols: woken.map(({ symbol }) => symbol).join(' ') })
        }
        this.#supervisor.wake(woken)
      } catch (error) {
        const found = error instanceof Error ? error.message : String(error)
        log.warn(`cannot see whether symbols are traded again: ${found}`)
      }
      if (!this.#supervisor.draining) this.#watchDormant(Math.min(10, factor * 1.5))
    }, marketsAgainMs * factor * (1 + 0.1 * Math.random()))
    this.#timers.push(timer)
  }

  /** Makes the topic fit; resolves with what it holds of the map's symbols. */
  async #checkTopic(): Promise<Map<string, LastPublished>> {
    const { settings } = this.#options
    if (settings.sink !== 'kafka') return new Map()
    const [{ KafkaClient }, { ensureTopic }, { readLastPublished }] = await Promise.all([
      import('../kafka/client.ts'),
      import('../kafka/topics.ts'),
      import('../kafka/last-published.ts'),
    ])
    const client = new KafkaClient(kafkaOptions(settings))
    const waiting = setInterval(() => {
      this.#outage.waiting(performance.now(), client.reach.lastError)
    }, OUTAGE_MS)
    const report = await ensureTopic(client, {
      topic: settings.topic,
      partitions: Math.max(...this.#map.entries.map((entry) => entry.partition)) + 1,
      replicationFactor: settings.replicationFactor,
      manage: settings.manageTopic,
    }).finally(() => clearInterval(waiting))
    for (const warning of report.warnings) log.warn(warning)
    if (report.action !== 'kept') {
      log.info(`topic ${report.action}`, {
        topic: settings.topic,
        partitions: report.partitions,
        replicas: report.replicas,
      })
    }
    if (report.action === 'created') return new Map()
    const partitionOf = new Map(this.#map.entries.map((entry) => [entry.symbol, entry.partition]))
    return readLastPublished(client, settings.topic, partitionOf, LAST_PUBLISHED_MS)
  }

  /** Somebody spoke a moment ago: it is said, or the start ends here. */
  #meetRivals(published: ReadonlyMap<string, LastPublished>): void {
    const { onConflict, topic } = this.#options.settings
    const rivals = rivalsAtStart(published, this.#producer, Date.now())
    if (rivals.length === 0) return
    const found = rivals.map(describeRival).join('; ')
    if (onConflict === 'exit') throw conflictError(topic, found)
    log.warn(
      `another agent published to ${topic} ${Math.ceil(rivals[0].silentMs / 1000)} s ago: ` +
        `${found}; going on above its epochs, stop it if it still runs`,
    )
  }

  #watchOutages(): void {
    this.#timers.push(setInterval(() => {
      const now = performance.now()
      let isWell = true
      for (const { state, stats } of this.#supervisor.views()) {
        if (state !== 'running' || stats?.kafka === undefined) continue
        const { failingMs, lastError } = stats.kafka
        if (stats.sink.connected && failingMs === 0) continue
        isWell = false
        this.#outage.waiting(now, lastError)
      }
      if (isWell) this.#outage.well(now)
      this.#throttling.observe(this.#supervisor.views(), now)
    }, OUTAGE_MS))
  }

  #watchRivals(): void {
    const { onConflict, topic } = this.#options.settings
    const said = new RivalLog((message) => log.warn(message))
    this.#timers.push(setInterval(() => {
      const rivals = rivalsOf(this.#supervisor.views())
      const remedy = onConflict === 'exit'
        ? 'ending, as --on-conflict exit wants it'
        : 'each begins epochs above the other, so that either one may be stopped; stop one'
      const isNew = said.observe(rivals, remedy, performance.now())
      if (!isNew || onConflict !== 'exit' || this.#supervisor.draining) return
      log.error(conflictError(topic, rivals.map(describeRival).join('; ')).message)
      this.#supervisor.stop(EXIT.config, this.#options.settings.drainTimeoutMs)
    }, RIVALS_MS))
  }

  #awaitReady(): void {
    const timer = setInterval(() => {
      const view = this.#view()
      if (!readiness(view).every((check) => check.ok)) return
      clearInterval(timer)
      const { live, books } = summarize(view)
      log.info('ready', { books: `${live} of ${books}`, afterMs: Date.now() - this.#startedMs })
    }, READY_CHECK_MS)
    this.#timers.push(timer)
  }

  async #serve(): Promise<void> {
    const { settings, version, commit } = this.#options
    if (settings.http === 'off') return
    try {
      const { startStatusServer } = await import('./status.ts')
      this.#server = await startStatusServer(settings.http, {
        view: () => this.#view(),
        metrics: () => {
          const { user, system } = process.cpuUsage()
          return renderMetrics(this.#view(), {
            version,
            commit,
            logs: logStats,
            rssBytes: process.memoryUsage.rss(),
            cpuSeconds: (user + system) / 1e6,
          })
        },
        about: () => ({ version, commit, pid: process.pid }),
      })
      log.debug('status server listens', { address: this.#server.address })
    } catch (error) {
      const found = `no status server: ${foreignError(error)}${heldBy(settings.http)}`
      const remedy = 'choose another address with --http or give --http off'
      if (settings.httpRequired) {
        throw new ObfeedError(
          'E_OS',
          `${found}, expected ${settings.http} to be free (--http-required); ${remedy}`,
          { scope: 'agent', exitCode: EXIT.temporary, cause: error },
        )
      }
      log.warn(`${found}; the feed runs without /metrics and /readyz, ${remedy}`)
    }
  }

  #view(): AgentView {
    const { exchange, sink, topic } = this.#options.settings
    return {
      exchange,
      sink,
      topic,
      startedMs: this.#startedMs,
      draining: this.#supervisor.draining,
      preparing: this.#preparing,
      workers: this.#supervisor.views(),
    }
  }
}

function conflictError(topic: string, found: string): ObfeedError {
  return new ObfeedError(
    'E_CONFIG',
    `another agent publishes to topic ${topic}: ${found}; expected to be the only one for these ` +
      'symbols (--on-conflict exit); stop the other one, or take its symbols out of the map',
    { scope: 'agent', exitCode: EXIT.config },
  )
}

/** Who has the port of an address already. */
function heldBy(address: string): string {
  const holder = holderOf(Number(address.slice(address.lastIndexOf(':') + 1)))
  return holder === undefined ? '' : `; the port is held by ${holder}`
}

/**
 * stdout belongs to events, and every line of it passes through here, also with one worker: what
 * one that died has left of a line must not stand before the first line of its successor.
 */
function outputOf(settings: Settings): WorkerOutput {
  return settings.sink === 'stdout' ? 'pipe' : 'stderr'
}
