/** One life of one worker: its process, its messages, and its death, told exactly once. */
import { type ChildProcess, spawn } from 'node:child_process'
import type { Readable } from 'node:stream'
import type { FromWorker, ToWorker } from './messages.ts'
import type { Command } from './runtime.ts'

export interface Death {
  readonly reason: 'exit' | 'signal' | 'spawn' | 'heartbeat' | 'build'
  /** Exit code, when it ended by itself. */
  readonly code: number | undefined
  /** For a person. */
  readonly detail: string
}

export interface ProcessEvents {
  message(message: FromWorker): void
  /** Exactly once, never from inside the constructor. */
  died(death: Death): void
}

/** What becomes of the worker's stdout. */
export type WorkerOutput = 'stderr' | 'pipe'

/** Messages sent right before the exit may still be on their way when the exit is reported. */
const LAST_WORDS_MS = 200
/** A worker without its channel ends by itself; after this long it is helped. */
const ORPHAN_MS = 4000

const children = new Set<number>()

/** Processes started here whose exit the runtime has not told yet: it alone may take that. */
export const ownChildren: ReadonlySet<number> = children

export class WorkerProcess {
  readonly pid: number | undefined
  /** Only with output `pipe`. */
  readonly stdout: Readable | null
  readonly #child: ChildProcess
  readonly #events: ProcessEvents
  #killedFor: 'heartbeat' | 'build' | undefined
  #death: Death | undefined
  #told = false
  #timer: ReturnType<typeof setTimeout> | undefined

  constructor(
    command: Command,
    environment: Readonly<Record<string, string>>,
    output: WorkerOutput,
    events: ProcessEvents,
  ) {
    this.#events = events
    const stdout = output === 'stderr' ? 2 : output
    this.#child = spawn(command.file, [...command.args], {
      stdio: ['ignore', stdout, 'inherit', 'ipc'],
      env: environment,
      serialization: 'json',
    })
    this.pid = this.#child.pid
    if (this.pid !== undefined) children.add(this.pid)
    // Undefined when there was no process to start (no descriptors left).
    this.stdout = this.#child.stdout ?? null
    this.#child.on('message', (message) => {
      if (!this.#told) events.message(message as FromWorker)
    })
    this.#child.on('error', (error) => {
      // Errors of kill and send come here too; only without a process is it a death.
      if (this.#child.pid !== undefined) return
      this.#tell({ reason: 'spawn', code: undefined, detail: error.message })
    })
    this.#child.on('exit', (code, signal) => {
      if (this.pid !== undefined) children.delete(this.pid)
      this.#exited(code, signal)
    })
    this.#child.on('disconnect', () => {
      if (this.#death !== undefined) this.#tell(this.#death)
      else this.#timer ??= setTimeout(() => this.kill(), ORPHAN_MS)
    })
  }

  /** Messages to a process that is gone are dropped: its death is told anyway. */
  send(message: ToWorker): void {
    if (this.#child.connected) this.#child.send(message, () => {})
  }

  /** SIGKILL. `reason` is what its death will be counted as. */
  kill(reason?: 'heartbeat' | 'build'): void {
    if (reason !== undefined) this.#killedFor ??= reason
    this.#child.kill('SIGKILL')
  }

  #exited(code: number | null, signal: string | null): void {
    const detail = signal !== null ? `signal ${signal}` : `exit code ${code}`
    this.#death = this.#killedFor !== undefined
      ? { reason: this.#killedFor, code: undefined, detail: `killed, ${this.#killedFor}` }
      : signal !== null
      ? { reason: 'signal', code: undefined, detail }
      : { reason: 'exit', code: code ?? undefined, detail }
    if (!this.#child.connected) return this.#tell(this.#death)
    const death = this.#death
    if (this.#timer !== undefined) clearTimeout(this.#timer)
    this.#timer = setTimeout(() => this.#tell(death), LAST_WORDS_MS)
  }

  #tell(death: Death): void {
    if (this.#told) return
    this.#told = true
    if (this.#timer !== undefined) clearTimeout(this.#timer)
    this.#events.died(death)
  }
}
