/** Starts the workers, keeps them running, drains them, and says when and how it all ended. */
import type { Writable } from 'node:stream'
import type { Settings } from '../config/settings.ts'
import type { WorkerPlan } from '../config/plan.ts'
import type { PlannedSymbol } from '../core/instrument.ts'
import { EXIT } from '../core/errors.ts'
import type { LastPublished } from '../kafka/last-published.ts'
import type { Hold } from '../feed/address.ts'
import { LineForwarder } from './lines.ts'
import type { FromWorker } from './messages.ts'
import { type Death, type WorkerOutput, WorkerProcess } from './process.ts'
import { publishedBeforeWorker } from './published.ts'
import { HeartbeatWatch, RESTART_POLICY, RestartHistory, type RestartPolicy } from './restarts.ts'
import { type Command, pinnedCommand } from './runtime.ts'
import { type WorkerSeat, WorkerSlot } from './slot.ts'
import type { WorkerView } from './view.ts'

export type Notice = (
  level: 'error' | 'warn' | 'info' | 'debug',
  message: string,
  fields: Readonly<Record<string, string | number>>,
) => void

export interface SupervisorOptions {
  readonly seats: readonly WorkerSeat[]
  /** The worker program of a seat, not pinned. */
  readonly command: (id: number) => Command
  /** Absent: no worker is pinned. */
  readonly taskset?: string
  readonly environment: Readonly<Record<string, string>>
  readonly output: WorkerOutput
  /**
   * Where the workers' lines go when `output` is `pipe`. Asked for once the first worker is on its
   * way: opening stdout takes as long as starting it.
   */
  readonly lines?: () => Writable
  /** A worker that greets with another one is not started with a plan. */
  readonly buildId: string
  /** `host/pid/version`, as records carry it. */
  readonly producer: string
  readonly notice: Notice
  readonly policy?: RestartPolicy
}

/**
 * Exit codes that starting again cannot mend. `unavailable` is one at the first start only, as an
 * answer for the user; later it is an outage to sit out.
 */
const HOPELESS: ReadonlySet<number> = new Set([
  EXIT.usage,
  EXIT.noInput,
  EXIT.unavailable,
  EXIT.os,
  EXIT.cannotCreate,
  EXIT.permission,
  EXIT.config,
])

/** For workers that have nothing to publish yet. */
const UNPLANNED_DRAIN_MS = 1000

export class Supervisor {
  /** Resolves once, with the exit code of the agent, when no worker process is left. */
  readonly ended: Promise<number>
  readonly #options: SupervisorOptions
  readonly #policy: RestartPolicy
  readonly #slots: readonly WorkerSlot[]
  readonly #watch: HeartbeatWatch
  #forwarder: LineForwarder | undefined
  readonly #streams: Set<Promise<void>> = new Set()
  #settings: Settings | undefined
  #published: ReadonlyMap<string, LastPublished> = new Map()
  #checker: ReturnType<typeof setInterval> | undefined
  #deadline: ReturnType<typeof setTimeout> | undefined
  /** Defined from `stop` on. */
  #exitCode: number | undefined
  #drainUntilMs = 0
  /** Nobody is interested any more in what was delivered. */
  #killed = false
  /** The exchange refuses this address until then: a worker that starts anew must know. */
  #held: { readonly untilMs: number; readonly reason: string } | undefined
  #resolve: (exitCode: number) => void = () => {}

  constructor(options: SupervisorOptions) {
    this.#options = options
    this.#policy = options.policy ?? RESTART_POLICY
    this.#slots = options.seats.map((seat) =>
      new WorkerSlot(seat, new RestartHistory(this.#policy, Math.random))
    )
    const checkMs = this.#checkMs()
    this.#watch = new HeartbeatWatch(this.#policy.heartbeatTimeoutMs, checkMs)
    this.ended = new Promise((resolve) => this.#resolve = resolve)
  }

  /** Starts all workers at once; they warm up until `assign`. */
  start(): void {
    this.#checker = setInterval(() => this.#check(), this.#checkMs())
    for (const slot of this.#slots) this.#spawn(slot)
  }

  /** Gives out the plans, by worker id; a worker without one is let go. */
  assign(
    settings: Settings,
    plans: readonly WorkerPlan[],
    published: ReadonlyMap<string, LastPublished> = new Map(),
  ): void {
    this.#settings = settings
    this.#published = published
    for (const slot of this.#slots) {
      slot.plan = plans.find((plan) => plan.id === slot.id)
      if (slot.plan === undefined) this.#release(slot)
      else if (slot.greeted) this.#sendPlan(slot)
    }
  }

  /** Symbols that a plan has as dormant are traded again. */
  wake(symbols: readonly PlannedSymbol[]): void {
    for (const slot of this.#slots) {
      const { plan } = slot
      const dormant = plan?.dormant ?? []
      const woken = symbols.filter(({ symbol }) => dormant.some((one) => one.symbol === symbol))
      if (plan === undefined || woken.length === 0) continue
      // So that its successor begins with them.
      slot.plan = {
        ...plan,
        connections: [...plan.connections, ...woken.map((symbol) => [symbol])],
        dormant: dormant.filter((one) => !woken.some(({ symbol }) => symbol === one.symbol)),
      }
      slot.process?.send({ type: 'wake', symbols: woken })
    }
  }

  get draining(): boolean {
    return this.#exitCode !== undefined
  }

  views(): WorkerView[] {
    return this.#slots.map((slot) => slot.view())
  }

  /**
   * Drains all workers, then `ended` resolves with `exitCode`; with 124 instead of 0 when a worker
   * could not deliver everything within the time. Only the first call counts.
   */
  stop(exitCode: number, drainTimeoutMs: number): void {
    if (this.#exitCode !== undefined) return
    this.#exitCode = exitCode
    this.#drainUntilMs = performance.now() + drainTimeoutMs
    this.#deadline = setTimeout(() => {
      this.#incomplete('not every worker drained within the drain timeout', {})
      this.#killAll()
    }, drainTimeoutMs)
    for (const slot of this.#slots) this.#drain(slot)
    this.#endIfGone()
  }

  /** SIGKILL for every worker, and the end with this code, whatever was said before. */
  kill(exitCode: number): void {
    this.#exitCode = exitCode
    this.#killed = true
    for (const slot of this.#slots) this.#release(slot)
    this.#killAll()
    this.#endIfGone()
  }

  #checkMs(): number {
    return Math.min(1000, Math.max(10, this.#policy.heartbeatTimeoutMs / 5))
  }

  #spawn(slot: WorkerSlot): void {
    const { command, taskset, environment, output } = this.#options
    const plain = command(slot.id)
    const pinned = slot.cpu === undefined || taskset === undefined
      ? plain
      : pinnedCommand(plain, slot.cpu, taskset)
    slot.state = 'starting'
    slot.greeted = false
    slot.fatal = undefined
    slot.startedMs = performance.now()
    slot.startedWallMs = Date.now()
    const worker = new WorkerProcess(pinned, environment, output, {
      message: (message) => this.#received(slot, message),
      died: (death) => this.#died(slot, death),
    })
    slot.process = worker
    const { lines } = this.#options
    if (worker.stdout !== null && lines !== undefined) {
      this.#forwarder ??= new LineForwarder(lines())
      const stream = this.#forwarder.attach(worker.stdout)
      this.#streams.add(stream)
      stream.then(() => this.#streams.delete(stream))
    }
    this.#watch.heard(slot.id, slot.startedMs)
  }

  #sendPlan(slot: WorkerSlot): void {
    if (slot.plan === undefined || this.#settings === undefined) return
    const published = publishedBeforeWorker(
      [...slot.plan.connections.flat(), ...slot.plan.dormant ?? []].map(({ symbol }) => symbol),
      this.#published,
      slot.books,
      Date.now(),
    )
    slot.process?.send({
      type: 'plan',
      settings: this.#settings,
      plan: slot.plan,
      ...this.#stillHeld(),
      producer: this.#options.producer,
      published,
      epochFloor: slot.epochs.begin(Date.now(), performance.now()),
    })
    slot.state = 'running'
  }

  #stillHeld(): { readonly held?: Hold } {
    if (this.#held === undefined) return {}
    const forMs = this.#held.untilMs - performance.now()
    return forMs > 0 ? { held: { forMs, reason: this.#held.reason } } : {}
  }

  #received(slot: WorkerSlot, message: FromWorker): void {
    slot.heartbeatWallMs = Date.now()
    this.#watch.heard(slot.id, performance.now())
    switch (message.type) {
      case 'hello':
        return this.#greeted(slot, message.buildId)
      case 'stats':
        return slot.received(message.stats)
      case 'fatal':
        slot.fatal = message
        return
      case 'held':
        this.#held = {
          untilMs: performance.now() + message.hold.forMs,
          reason: message.hold.reason,
        }
        for (const other of this.#slots) if (other !== slot) other.process?.send(message)
        return
      case 'drained':
        if (message.stats !== undefined) slot.received(message.stats)
        slot.drained = message.complete
        if (!message.complete) {
          this.#incomplete('a worker could not deliver everything', { worker: slot.id })
        }
        slot.process?.send({ type: 'goodbye' })
    }
  }

  #greeted(slot: WorkerSlot, buildId: string): void {
    if (slot.greeted) return
    if (buildId !== this.#options.buildId) {
      this.#options.notice(
        'error',
        'the worker is of another build than this agent (upgraded while running?); ' +
          'restart the agent',
        { worker: slot.id, found: buildId, expected: this.#options.buildId },
      )
      slot.process?.kill('build')
      return
    }
    slot.greeted = true
    if (this.#exitCode === undefined) this.#sendPlan(slot)
  }

  #drain(slot: WorkerSlot): void {
    if (slot.timer !== undefined) clearTimeout(slot.timer)
    if (slot.process === undefined) {
      slot.state = 'stopped'
      return
    }
    slot.state = 'draining'
    // What the worker is given is a little less, so that its answer is back before the deadline.
    const left = Math.max(0, this.#drainUntilMs - performance.now())
    slot.process.send({ type: 'drain', timeoutMs: Math.round(left - Math.min(1000, left / 5)) })
  }

  /** Lets go of a worker that has no plan. */
  #release(slot: WorkerSlot): void {
    if (slot.timer !== undefined) clearTimeout(slot.timer)
    if (slot.process === undefined) slot.state = 'stopped'
    else {
      slot.state = 'draining'
      slot.process.send({ type: 'drain', timeoutMs: 1000 })
    }
  }

  #check(): void {
    for (const slot of this.#slots) slot.epochs.clock(Date.now(), performance.now())
    for (const id of this.#watch.check(performance.now())) {
      this.#watch.forget(id)
      this.#slots.find((slot) => slot.id === id)?.process?.kill('heartbeat')
    }
  }

  #died(slot: WorkerSlot, death: Death): void {
    const startedMs = slot.startedMs
    const neverGreeted = !slot.greeted && slot.heartbeatWallMs === 0
    const released = slot.state === 'draining'
    this.#watch.forget(slot.id)
    slot.ended()
    if (this.#exitCode !== undefined || released) {
      slot.state = 'stopped'
      if (this.#exitCode !== undefined && slot.plan !== undefined && !slot.drained) {
        this.#incomplete(`a worker ended before it had drained: ${death.detail}`, {
          worker: slot.id,
        })
      }
      return this.#endIfGone()
    }
    const outage = death.code === EXIT.unavailable && this.#slots.some((one) => one.everServed)
    const hopeless = outage ? undefined : hopelessExit(slot, death, neverGreeted)
    if (hopeless !== undefined) {
      slot.state = 'stopped'
      const level = hopeless === EXIT.ok ? 'info' : 'error'
      this.#options.notice(level, `the agent ends: ${reasonOf(slot, death)}`, {
        worker: slot.id,
        exitCode: hopeless,
      })
      return this.stop(hopeless, this.#settings?.drainTimeoutMs ?? UNPLANNED_DRAIN_MS)
    }
    const verdict = slot.history.died(startedMs, performance.now(), outage)
    if (verdict.action === 'give-up') {
      slot.state = 'stopped'
      this.#options.notice(
        'error',
        `the agent ends: a worker died ${verdict.deaths} times in ` +
          `${Math.ceil(verdict.withinMs / 1000)} s, last ${reasonOf(slot, death)}`,
        { worker: slot.id, budget: this.#policy.budget },
      )
      return this.stop(EXIT.software, this.#settings?.drainTimeoutMs ?? UNPLANNED_DRAIN_MS)
    }
    slot.state = 'waiting'
    slot.restarts[death.reason] = (slot.restarts[death.reason] ?? 0) + 1
    this.#options.notice('warn', `worker died, restarting: ${reasonOf(slot, death)}`, {
      worker: slot.id,
      delayMs: verdict.delayMs,
    })
    slot.timer = setTimeout(() => this.#spawn(slot), verdict.delayMs)
  }

  #incomplete(message: string, fields: Readonly<Record<string, string | number>>): void {
    if (this.#killed) return
    this.#options.notice('warn', message, fields)
    if (this.#exitCode === EXIT.ok) this.#exitCode = EXIT.drainTimeout
  }

  #killAll(): void {
    for (const slot of this.#slots) slot.process?.kill()
  }

  #endIfGone(): void {
    if (this.#slots.some((slot) => slot.process !== undefined)) return
    clearInterval(this.#checker)
    clearTimeout(this.#deadline)
    const exitCode = this.#exitCode ?? EXIT.ok
    // The last lines of the workers may still be in their pipes and in ours.
    const forwarder = this.#forwarder
    if (forwarder === undefined || this.#killed) return this.#resolve(exitCode)
    const left = Math.max(0, this.#drainUntilMs - performance.now())
    const timer = setTimeout(
      () => this.#resolve(exitCode === EXIT.ok ? EXIT.drainTimeout : exitCode),
      left,
    )
    Promise.all(this.#streams).then(() => forwarder.flushed()).then(() => {
      clearTimeout(timer)
      this.#resolve(exitCode)
    })
  }
}

function reasonOf(slot: WorkerSlot, death: Death): string {
  return slot.fatal === undefined ? death.detail : `${death.detail}, ${slot.fatal.message}`
}

/** The agent's exit code when starting the worker again would not help; undefined when it may. */
function hopelessExit(slot: WorkerSlot, death: Death, neverGreeted: boolean): number | undefined {
  if (death.reason === 'spawn') return neverGreeted ? EXIT.os : undefined
  if (death.code === undefined) return undefined
  if (slot.fatal?.scope === 'agent') return death.code
  if (HOPELESS.has(death.code)) return death.code
  // taskset found nothing to run.
  if (neverGreeted && (death.code === 126 || death.code === 127)) return EXIT.os
  return undefined
}
