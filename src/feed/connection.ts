/** The life of one socket slot, and the only door to `ws` on the feed's side. */
import WebSocket from 'ws'
import { foreignText } from '../core/foreign-text.ts'
import type { Environment, Refusal, Socket, SocketEvents, Timer } from '../core/environment.ts'
import type { Limits, Session } from '../exchanges/adapter.ts'
import type { Budget, BudgetClient } from './budget.ts'
import { parseRetryAfter } from './retry-after.ts'

/**
 * A real socket. Under Bun `ws` is Bun's own client; on every runtime a text message arrives as a
 * Buffer, and no string is made of it.
 */
export function openWebSocket(
  url: string,
  events: SocketEvents,
  frameBytesMax: number,
): Socket {
  const socket = new WebSocket(url, {
    perMessageDeflate: false,
    maxPayload: frameBytesMax,
    headers: { 'User-Agent': 'obfeed' },
  })
  let ended = false
  let failure = ''
  const end = (code: number, reason: string, refusal?: Refusal): void => {
    if (ended) return
    ended = true
    events.closed(code, reason, refusal)
  }
  socket.on('open', () => {
    if (!ended) events.opened()
  })
  socket.on('message', (data) => {
    const frame = data as Buffer
    if (ended) return
    if (frame.length <= frameBytesMax) return events.received(frame)
    // Not every runtime's client knows `maxPayload`.
    failure = `a frame of ${frame.length} bytes, expected at most ${frameBytesMax}`
    socket.terminate()
    end(1009, failure)
  })
  const alive = (): void => {
    if (!ended) events.alive()
  }
  // A ping is answered by the library.
  socket.on('ping', alive)
  socket.on('pong', alive)
  socket.on('unexpected-response', (_request, response) => {
    const retryAfterMs = parseRetryAfter(response.headers['retry-after'], Date.now())
    end(1006, `HTTP ${response.statusCode ?? 0} in place of a WebSocket`, {
      status: response.statusCode ?? 0,
      ...(retryAfterMs === undefined ? {} : { retryAfterMs }),
    })
    socket.terminate()
  })
  socket.on('error', (error) => {
    failure = error.message
  })
  socket.on('close', (code, reason) => end(code, reason.length > 0 ? String(reason) : failure))
  return {
    send: (text) => socket.send(text),
    ping: () => socket.ping(),
    pause: () => socket.pause(),
    resume: () => socket.resume(),
    get bufferedBytes() {
      return socket.bufferedAmount
    },
    terminate() {
      if (ended) return
      socket.terminate()
      // The library may wait for the peer, or never tell; the owner need not know.
      queueMicrotask(() => end(1006, 'terminated'))
    },
  }
}

/** Why a socket was given up: few values, they label a counter. */
export type LossReason =
  | 'refused'
  | 'connect-timeout'
  | 'closed'
  | 'stale'
  | 'resync'
  | 'failed'
  | 'lifetime'

export interface ConnectionTimings {
  readonly connectTimeoutMs: number
  /** Nothing from the peer for so long, no frame, ping or pong: it is sent a ping. */
  readonly silenceMs: number
  /** And for so long after that: the socket is dead. */
  readonly pongWithinMs: number
  /** The n-th attempt in a row waits up to `backoffBaseMs * 2^n`, at most `backoffCapMs`. */
  readonly backoffBaseMs: number
  readonly backoffCapMs: number
}

export const CONNECTION_TIMINGS: ConnectionTimings = {
  connectTimeoutMs: 10_000,
  // Together less than the 15 s after which consumers may give up an agent.
  silenceMs: 9000,
  pongWithinMs: 5000,
  backoffBaseMs: 1000,
  backoffCapMs: 30_000,
}

/** An event loop that stood still this long saw no frames because it did not look. */
const TICK_LATE_MS = 1000

export interface ConnectionOwner {
  /** A socket is open: returns the fresh session that alone will see its frames. */
  opened(): Session
  /** The exchange will end the open socket soon: another one should be live before. Said once. */
  retiring(detail: string): void
  /** The socket is gone (or never was); `opened` says whether it had been open. */
  lost(reason: LossReason, detail: string, opened: boolean, retryMs: number): void
}

export interface ConnectionOptions {
  readonly url: string
  /** Of an adapter that makes its sockets itself; absent: the environment's. */
  readonly openSocket?: (url: string, events: SocketEvents) => Socket
  readonly limits: Limits
  /** Messages a session sends when it opens. */
  readonly openingMessages: number
  readonly timings?: ConnectionTimings
}

export type ConnectionState = 'idle' | 'waiting' | 'connecting' | 'open' | 'stopped'

/** One slot: at most one socket at a time, opened again for as long as it is not stopped. */
export class Connection implements BudgetClient {
  /** All sockets of this slot together. */
  frames = 0
  bytes = 0
  state: ConnectionState = 'idle'
  /** Set while open. Read by the link for each frame. */
  session: Session | undefined
  readonly environment: Environment
  readonly openingMessages: number
  readonly #options: ConnectionOptions
  readonly #timings: ConnectionTimings
  readonly #budget: Budget
  #owner: ConnectionOwner
  #link: SocketLink | undefined
  #timer: Timer | undefined
  #queue: string[] = []
  /** Messages up to the last one that is no heartbeat. */
  #requests = 0
  #isBeating = false
  /** The first messages of a socket are still in the queue. */
  #opening = false
  #attempts = 0
  #paused = false
  /** Pings and pongs of the peer, all sockets together. */
  #pongs = 0
  #framesAtTick = 0
  #pongsAtTick = 0
  /** When the peer was heard of last, monotonic ms, as exact as the ticks. */
  #heardMs = 0
  /** When a ping was sent that nothing has followed, monotonic ms; NaN: none was. */
  #pingedMs = NaN
  #lastTickMs = 0
  #lastHeartbeatMs = 0
  #rotateAtMs = Infinity

  constructor(
    options: ConnectionOptions,
    budget: Budget,
    environment: Environment,
    owner: ConnectionOwner,
  ) {
    this.#options = options
    this.#timings = options.timings ?? CONNECTION_TIMINGS
    this.#budget = budget
    this.#owner = owner
    this.environment = environment
    this.openingMessages = options.openingMessages
  }

  /** Messages the budget has not let through yet. */
  get queued(): number {
    return this.#queue.length
  }

  /** The same, but for heartbeats behind everything else: what is asked for has left at 0. */
  get requestsQueued(): number {
    return this.#requests
  }

  get urgent(): boolean {
    return this.#opening
  }

  /** Another owner hears of this slot from now on. */
  handTo(owner: ConnectionOwner): void {
    this.#owner = owner
  }

  /** Asks the owner once more to replace the open socket, after this time. */
  retireIn(delayMs: number): void {
    this.#rotateAtMs = this.environment.monotonicMs() + delayMs
  }

  start(): void {
    if (this.state !== 'idle') return
    this.#wait(0)
  }

  /** Queues a client message for the open socket; without one it is dropped. */
  send(text: string): void {
    if (this.state !== 'open') return
    this.#queue.push(text)
    if (!this.#isBeating) this.#requests = this.#queue.length
    // While `opened` runs the queue is not complete yet: it is handed over as a whole.
    if (this.session !== undefined) this.#budget.requestSend(this)
  }

  /** The first good data of this socket arrived: the next loss starts over with short delays. */
  proven(): void {
    this.#attempts = 0
  }

  /** Gives the socket up and opens another, not sooner than `delayMs`. */
  reopen(reason: LossReason, detail: string, delayMs = 0): void {
    if (this.state === 'open' || this.state === 'connecting') this.#lose(reason, detail, delayMs)
  }

  /** Ends for good, at once, without telling the owner. */
  stop(): void {
    this.state = 'stopped'
    this.#release()
  }

  pause(): void {
    this.#paused = true
    if (this.state === 'open') this.#link?.socket?.pause()
  }

  resume(): void {
    if (!this.#paused) return
    this.#paused = false
    if (this.state !== 'open') return
    this.#heard(this.environment.monotonicMs())
    this.#link?.socket?.resume()
  }

  /** Call several times per second: liveness, lifetime, the session's own heartbeat. */
  tick(nowMs: number): void {
    const lateMs = nowMs - this.#lastTickMs - TICK_LATE_MS
    this.#lastTickMs = nowMs
    if (this.state !== 'open' || this.session === undefined) return
    if (lateMs > 0) {
      this.#heardMs += lateMs
      this.#pingedMs += lateMs
    }
    if (this.frames !== this.#framesAtTick || this.#pongs !== this.#pongsAtTick) this.#heard(nowMs)
    else if (!this.#paused && !this.#isAlive(nowMs)) {
      const silentMs = Math.round(nowMs - this.#heardMs)
      this.#lose('stale', `nothing for ${silentMs} ms, and no answer to a ping`, 0)
      return
    }
    if (nowMs >= this.#rotateAtMs) {
      this.#rotateAtMs = Infinity
      this.#owner.retiring('renewed before the exchange ends it')
      if (this.state !== 'open') return
    }
    const heartbeatMs = this.session.heartbeatMs
    if (heartbeatMs !== undefined && nowMs - this.#lastHeartbeatMs >= heartbeatMs) {
      this.#lastHeartbeatMs = nowMs
      this.#isBeating = true
      this.session.heartbeat?.()
      this.#isBeating = false
    }
  }

  /** Granted by the budget. */
  connect(): void {
    if (this.state !== 'waiting') return
    this.state = 'connecting'
    const link = new SocketLink(this)
    this.#link = link
    const timeoutMs = this.#timings.connectTimeoutMs
    this.#timer = this.environment.setTimer(timeoutMs, () => {
      this.#lose('connect-timeout', `not open after ${timeoutMs} ms`, 0)
    })
    const { url, limits, openSocket } = this.#options
    const socket = openSocket?.(url, link) ??
      this.environment.openSocket(url, link, limits.frameBytesMax)
    // It may have failed before it was handed over.
    if (this.#link === link) link.socket = socket
    else socket.terminate()
  }

  /** Granted by the budget. */
  sendNext(): void {
    const text = this.#queue.shift()
    if (this.#requests > 0) this.#requests--
    if (this.#queue.length === 0) this.#opening = false
    if (text !== undefined) this.#link?.socket?.send(text)
  }

  /** From the link: the socket is open. */
  socketOpened(): void {
    this.#timer?.cancel()
    this.#timer = undefined
    const now = this.environment.monotonicMs()
    this.state = 'open'
    this.#heard(now)
    this.#lastTickMs = now
    this.#lastHeartbeatMs = now
    const lifetimeMs = this.#options.limits.lifetimeMs
    // Up to a tenth earlier, so that sockets opened together are not renewed together.
    this.#rotateAtMs = lifetimeMs === undefined
      ? Infinity
      : now + lifetimeMs * (1 - 0.1 * this.environment.random())
    if (this.#paused) this.#link?.socket?.pause()
    const link = this.#link
    const session = this.#owner.opened()
    session.opened()
    if (this.#link !== link) return
    this.session = session
    this.#opening = this.#queue.length > 0
    this.#budget.opened(this)
    this.#budget.requestSend(this)
  }

  /** From the link: a ping or pong came. */
  socketAlive(): void {
    this.#pongs++
  }

  /** From the link: the socket is gone. */
  socketClosed(code: number, reason: string, refusal: Refusal | undefined): void {
    const { address } = this.#budget
    if (refusal !== undefined) address.refused('WebSocket', refusal)
    const wasOpen = this.state === 'open'
    const text = reason === '' ? `code ${code}` : `code ${code}, ${foreignText(reason)}`
    const heldMs = address.waitMs(this.environment.monotonicMs())
    this.#lose(wasOpen ? 'closed' : 'refused', text, heldMs)
  }

  #heard(nowMs: number): void {
    this.#framesAtTick = this.frames
    this.#pongsAtTick = this.#pongs
    this.#heardMs = nowMs
    this.#pingedMs = NaN
  }

  /** Asks, after a silence; false: there was no answer. */
  #isAlive(nowMs: number): boolean {
    const { silenceMs, pongWithinMs } = this.#timings
    if (nowMs - this.#heardMs < silenceMs) return true
    if (Number.isNaN(this.#pingedMs)) {
      this.#pingedMs = nowMs
      this.#budget.spend()
      this.#link?.socket?.ping()
    }
    return nowMs - this.#pingedMs < pongWithinMs
  }

  #lose(reason: LossReason, detail: string, delayMs: number): void {
    const opened = this.state === 'open'
    this.#release()
    const { backoffBaseMs, backoffCapMs } = this.#timings
    const most = Math.min(backoffCapMs, backoffBaseMs * 2 ** Math.min(this.#attempts, 30))
    this.#attempts++
    const retryMs = Math.max(delayMs, this.environment.random() * most)
    this.state = 'waiting'
    this.#owner.lost(reason, detail, opened, retryMs)
    // The owner may have stopped this slot.
    if (this.state === 'waiting') this.#wait(retryMs)
  }

  #wait(delayMs: number): void {
    this.state = 'waiting'
    if (delayMs <= 0) {
      this.#budget.requestConnect(this)
      return
    }
    this.#timer = this.environment.setTimer(delayMs, () => {
      this.#timer = undefined
      this.#budget.requestConnect(this)
    })
  }

  /** Cuts the link first: nothing of the old socket can reach what comes next. */
  #release(): void {
    const link = this.#link
    this.#link = undefined
    this.session = undefined
    this.#queue = []
    this.#pingedMs = NaN
    this.#requests = 0
    this.#opening = false
    this.#timer?.cancel()
    this.#timer = undefined
    this.#budget.cancel(this)
    link?.cut()
  }
}

/** What a socket may call; once cut, nothing of it comes through any more. */
class SocketLink implements SocketEvents {
  socket: Socket | undefined
  #connection: Connection | undefined

  constructor(connection: Connection) {
    this.#connection = connection
  }

  cut(): void {
    this.#connection = undefined
    this.socket?.terminate()
  }

  opened(): void {
    this.#connection?.socketOpened()
  }

  received(frame: Uint8Array): void {
    const connection = this.#connection
    if (connection === undefined) return
    connection.frames++
    connection.bytes += frame.length
    connection.session?.received(frame, connection.environment.nowUs())
  }

  alive(): void {
    this.#connection?.socketAlive()
  }

  closed(code: number, reason: string, refusal?: Refusal): void {
    this.#connection?.socketClosed(code, reason, refusal)
  }
}
