/** Who is connected to a simulated exchange: from the address to the end, within the limits. */
import type { Connection } from './connection.ts'
import type { Enforcement } from './enforcement.ts'
import type { FrameHistory } from './frame-history.ts'
import type { ExchangeLimits, ExchangeOutput, ExchangeStats } from './rules.ts'
import type { Subscriptions } from './subscriptions.ts'

/** What the connections are in need of; the exchange owns it. */
export interface Connected {
  readonly limits: ExchangeLimits
  readonly stats: ExchangeStats
  readonly history: FrameHistory
  readonly enforcement: Enforcement
  readonly subscriptions: Subscriptions
}

/** How the exchange meets its clients; see `ExchangeHabits`. */
export interface Host<C extends Connection> {
  accepts(path: string): boolean
  newConnection(id: number, nowMs: number, path: string, query: URLSearchParams): C
  greet(connection: C, nowMs: number): void
  message(connection: C, text: string, nowMs: number): void
  overMessages(connection: C, nowMs: number): void
}

export class Connections<C extends Connection> {
  readonly #output: ExchangeOutput
  readonly #parts: Connected
  readonly #host: Host<C>
  readonly #open = new Map<number, C>()
  /** Not greeted yet. */
  readonly #greeting: C[] = []
  #nextId = 1

  constructor(output: ExchangeOutput, parts: Connected, host: Host<C>) {
    this.#output = output
    this.#parts = parts
    this.#host = host
  }

  /** Those that are open. */
  all(): Iterable<C> {
    return this.#open.values()
  }

  get someToGreet(): boolean {
    return this.#greeting.length > 0
  }

  /** Gives the connection's id; -1: over a limit; -2: nothing is served at this address. */
  connect(nowMs: number, target: string): number {
    const { stats, history, enforcement } = this.#parts
    const mark = target.indexOf('?')
    const path = mark < 0 ? target : target.slice(0, mark)
    const query = new URLSearchParams(mark < 0 ? '' : target.slice(mark + 1))
    if (!enforcement.mayConnect(this.#open.size, nowMs)) return -1
    if (!this.#host.accepts(path)) return -2
    const id = this.#nextId++
    const connection = this.#host.newConnection(id, nowMs, path, query)
    enforcement.opened(connection, this.#output.ping !== undefined, nowMs)
    this.#open.set(id, connection)
    history.opened(id)
    stats.connectionsOpened++
    stats.connectionsOpen++
    this.#greeting.push(connection)
    return id
  }

  /** Not from within `connect`: its caller cannot carry frames yet. */
  greetAll(nowMs: number): void {
    while (this.#greeting.length > 0) {
      const connection = this.#greeting.shift()!
      if (!connection.closed) this.#host.greet(connection, nowMs)
    }
  }

  receive(id: number, text: string, nowMs: number): void {
    const connection = this.#open.get(id)
    if (connection === undefined) return
    this.greetAll(nowMs)
    this.#parts.stats.messages++
    connection.lastReceivedMs = nowMs
    if (!this.#maySpeak(connection, nowMs)) return
    if (!connection.closed) this.#host.message(connection, text, nowMs)
  }

  /** A protocol ping or pong of the client. */
  control(id: number, isPong: boolean, nowMs: number): void {
    const connection = this.#open.get(id)
    if (connection === undefined) return
    if (isPong) connection.pongDueMs = Infinity
    connection.lastReceivedMs = nowMs
    if (this.#parts.limits.pingsCount === true) this.#maySpeak(connection, nowMs)
  }

  /** Ends it where a rule says so, else pings where that is due. True: it is closed. */
  review(connection: C, nowMs: number): boolean {
    const { enforcement } = this.#parts
    const ending = enforcement.ending(connection, nowMs)
    if (ending !== undefined) this.close(connection, ending.code, ending.reason)
    else if (enforcement.pings(connection, nowMs)) this.#output.ping!(connection.id)
    return connection.closed
  }

  /** The exchange ends it. */
  close(connection: C, code: number, reason: string): void {
    if (connection.closed) return
    this.disconnected(connection.id)
    this.#output.close(connection.id, code, reason)
  }

  /** Its socket is gone. */
  disconnected(id: number): void {
    const connection = this.#open.get(id)
    if (connection === undefined) return
    this.#open.delete(id)
    connection.closed = true
    this.#parts.stats.connectionsOpen--
    this.#parts.subscriptions.silence(connection)
  }

  #maySpeak(connection: C, nowMs: number): boolean {
    if (this.#parts.enforcement.maySpeak(connection, nowMs)) return true
    this.#host.overMessages(connection, nowMs)
    return false
  }
}
