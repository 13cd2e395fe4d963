/** What signals, and a reader of stdout that went away, mean to the agent. */
import process from 'node:process'
import { EXIT } from '../core/errors.ts'
import { log, logLastWords } from '../telemetry/log.ts'

function monotonicMs(): number {
  return performance.now()
}

export interface Stoppable {
  readonly draining: boolean
  stop(exitCode: number, drainTimeoutMs: number): void
  kill(exitCode: number): void
}

/** `timeout`, `npm` and terminals signal the process and its group: one wish that comes twice. */
const SAME_WISH_MS = 250

/**
 * TERM or INT drains and ends with 0; another one, not in the same breath, ends at once with 143 or
 * 130. HUP does nothing, but says so: without a handler it would end the agent.
 */
export class Stopper {
  readonly #agent: Stoppable
  readonly #drainTimeoutMs: number
  readonly #now: () => number
  #askedMs = Infinity
  readonly #listeners: readonly (readonly [NodeJS.Signals, () => void])[]
  readonly #stdoutFailed = (error: Error): void => this.#broken(error)

  /** `now`: monotonic ms. */
  constructor(agent: Stoppable, drainTimeoutMs: number, now: () => number = monotonicMs) {
    this.#agent = agent
    this.#drainTimeoutMs = drainTimeoutMs
    this.#now = now
    this.#listeners = [
      ['SIGTERM', () => this.#signal('TERM', EXIT.terminated)],
      ['SIGINT', () => this.#signal('INT', EXIT.interrupted)],
      ['SIGHUP', () => log.warn('HUP: reloading is not supported, restart to read the map again')],
    ]
    for (const [name, listener] of this.#listeners) process.on(name, listener)
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
