/** What signals, and a reader of stdout that went away, mean to the agent. */
import process from 'node:process'
import { EXIT } from '../core/errors.ts'
import { log, logLastWords } from '../telemetry/log.ts'
import { readSystemText, systemCalls } from './runtime.ts'

function monotonicMs(): number {
  return performance.now()
}

export interface Stoppable {
  readonly draining: boolean
  stop(exitCode: number, drainTimeoutMs: number): void
  kill(exitCode: number): void
}

/** What asks for the end: of a service manager, a terminal, a limit of CPU time. */
const ENDING = ['SIGTERM', 'SIGINT', 'SIGQUIT', 'SIGABRT', 'SIGXCPU'] as const
/** What would end a process that has no handler for it, by accident or by a habit of other programs. */
const MEANINGLESS = [
  ...['SIGUSR1', 'SIGUSR2', 'SIGALRM', 'SIGVTALRM', 'SIGPROF', 'SIGIO', 'SIGXFSZ', 'SIGTRAP'],
] as readonly NodeJS.Signals[]
/** Signals that no API names: of a coprocessor's stack, and those of real time. */
const NAMELESS = [16, ...Array.from({ length: 31 }, (_, i) => 34 + i)]

/**
 * Signals that mean nothing here do nothing: without a handler each of them would end the process.
 * Not among them are those of a fault (SEGV, BUS, ILL, FPE, SYS), after which nothing can be
 * trusted, and those of job control.
 */
export function ignoreSignals(
  names: readonly NodeJS.Signals[],
  said: (name: string) => void,
): readonly Listener[] {
  const listeners = names.map((name): Listener => [name, () => said(name.slice(3))])
  for (const [name, listener] of listeners) process.on(name, listener)
  const calls = systemCalls()
  const caught = caughtSignals()
  for (const number of NAMELESS) {
    if ((caught >> BigInt(number - 1) & 1n) === 0n) calls?.ignoreSignal(number)
  }
  return listeners
}

/** A worker does what its parent says, and nothing else. */
export function ignoreAllSignals(): void {
  ignoreSignals([...ENDING, ...MEANINGLESS, 'SIGHUP'], () => {})
}

/** Bit n - 1: the runtime has a handler for signal n. */
function caughtSignals(): bigint {
  const mask = /^SigCgt:\s*([0-9a-f]+)/m.exec(readSystemText('/proc/self/status') ?? '')?.[1]
  return mask === undefined ? ~0n : BigInt(`0x${mask}`)
}

type Listener = readonly [NodeJS.Signals, () => void]

/** `timeout`, `npm` and terminals signal the process and its group: one wish that comes twice. */
const SAME_WISH_MS = 250

/**
 * TERM or INT (or QUIT, ABRT, XCPU) drains and ends with 0; another one, not in the same breath,
 * ends at once with 143, after INT with 130. All others do nothing, and say so once.
 */
export class Stopper {
  readonly #agent: Stoppable
  readonly #drainTimeoutMs: number
  readonly #now: () => number
  #askedMs = Infinity
  readonly #listeners: readonly Listener[]
  readonly #ignored = new Set<string>()
  readonly #stdoutFailed = (error: Error): void => this.#broken(error)

  /** `now`: monotonic ms. */
  constructor(agent: Stoppable, drainTimeoutMs: number, now: () => number = monotonicMs) {
    this.#agent = agent
    this.#drainTimeoutMs = drainTimeoutMs
    this.#now = now
    const ending = ENDING.map((name): Listener => {
      const exitCode = name === 'SIGINT' ? EXIT.interrupted : EXIT.terminated
      return [name, () => this.#signal(name.slice(3), exitCode)]
    })
    const others: Listener[] = [
      ['SIGHUP', () => log.warn('HUP: reloading is not supported, restart to read the map again')],
    ]
    for (const [name, listener] of [...ending, ...others]) process.on(name, listener)
    const ignored = ignoreSignals(MEANINGLESS, (name) => this.#ignore(name))
    this.#listeners = [...ending, ...others, ...ignored]
  }

  /** Ends the agent when stdout breaks. Apart, because opening stdout takes a while at start. */
  watchStdout(): void {
    process.stdout.on('error', this.#stdoutFailed)
  }

  dispose(): void {
    for (const [name, listener] of this.#listeners) process.removeListener(name, listener)
  }

  #signal(name: string, exitCode: number): void {
    const now = this.#now()
    if (now >= this.#askedMs) {
      if (now - this.#askedMs < SAME_WISH_MS) return
      logLastWords(`second signal, stopping at once`, { signal: name })
      this.#agent.kill(exitCode)
      process.exit(exitCode)
    }
    this.#askedMs = now
    log.info('draining', { signal: name, timeoutMs: this.#drainTimeoutMs })
    this.#agent.stop(EXIT.ok, this.#drainTimeoutMs)
  }

  #ignore(name: string): void {
    if (this.#ignored.has(name)) return
    this.#ignored.add(name)
    log.warn(`${name}: means nothing to obfeed and is ignored; TERM or INT drains and ends it`)
  }

  /** `obfeed ... | head` is a normal end, a full disk is not. */
  #broken(error: NodeJS.ErrnoException): void {
    if (this.#agent.draining) return
    if (error.code === 'EPIPE' || error.code === 'ERR_STREAM_DESTROYED') {
      log.info('the reader of stdout went away, stopping', { found: error.message })
      this.#agent.kill(EXIT.ok)
      return
    }
    log.error(`stdout cannot be written (${error.message}); expected a file or pipe with room`)
    this.#agent.kill(EXIT.cannotCreate)
  }
}
