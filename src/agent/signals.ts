/** What signals, and a reader of stdout that went away, mean to the agent. */
import process from 'node:process'
import { EXIT } from '../core/errors.ts'
import { log, logLastWords } from '../telemetry/log.ts'

export interface Stoppable {
  readonly draining: boolean
  stop(exitCode: number, drainTimeoutMs: number): void
  kill(exitCode: number): void
}

/**
 * TERM or INT drains and ends with 0; another one ends at once with 143 or 130. HUP does nothing,
 * but says so: without a handler it would end the agent.
 */
export class Stopper {
  readonly #agent: Stoppable
  readonly #drainTimeoutMs: number
  #asked = false
  readonly #listeners: readonly (readonly [NodeJS.Signals, () => void])[]
  readonly #stdoutFailed = (error: Error): void => this.#broken(error)

  constructor(agent: Stoppable, drainTimeoutMs: number) {
    this.#agent = agent
    this.#drainTimeoutMs = drainTimeoutMs
    this.#listeners = [
      ['SIGTERM', () => this.#signal('TERM', EXIT.terminated)],
      ['SIGINT', () => this.#signal('INT', EXIT.interrupted)],
      ['SIGHUP', () => log.warn('HUP: reloading is not supported, restart to read the map again')],
    ]
    for (const [name, listener] of this.#listeners) process.on(name, listener)
    process.stdout.on('error', this.#stdoutFailed)
  }

  dispose(): void {
    for (const [name, listener] of this.#listeners) process.removeListener(name, listener)
  }

  #signal(name: string, exitCode: number): void {
    if (this.#asked) {
      logLastWords(`second signal, stopping at once`, { signal: name })
      this.#agent.kill(exitCode)
      process.exit(exitCode)
    }
    this.#asked = true
    log.info('draining', { signal: name, timeoutMs: this.#drainTimeoutMs })
    this.#agent.stop(EXIT.ok, this.#drainTimeoutMs)
  }

  /** `obfeed ... | head` is a normal end. */
  #broken(error: Error): void {
    if (this.#agent.draining) return
    log.info('the reader of stdout went away, stopping', { found: error.message })
    this.#agent.kill(EXIT.ok)
  }
}
