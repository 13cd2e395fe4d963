/** Simulated sockets between worker and exchange: TCP order, unless a fault says otherwise. */
import type { Refusal, Socket, SocketEvents } from '../../src/core/environment.ts'
import type { Random, VirtualClock } from './clock.ts'
import type { Tally } from './tally.ts'

/** Chances of a fault: per frame from the exchange, or per attempt to connect. */
export interface NetworkFaults {
  drop: number
  duplicate: number
  /** The frame arrives behind some that were sent later. */
  reorder: number
  /** The frame, and all behind it, arrive late. */
  delay: number
  /** The frame ends in the middle. */
  cut: number
  disconnect: number
  /** Nothing passes any more in either direction, and nobody is told. */
  halfOpen: number
  refuse: number
  /** The attempt to connect is never answered. */
  hang: number
  /** A GET that is never answered. */
  httpLost?: number
  /** One that takes seconds. */
  httpSlow?: number
}

export const NO_NETWORK_FAULTS: NetworkFaults = {
  drop: 0,
  duplicate: 0,
  reorder: 0,
  delay: 0,
  cut: 0,
  disconnect: 0,
  halfOpen: 0,
  refuse: 0,
  hang: 0,
}

/** The exchange's end of one socket. */
export interface ServerEnd {
  received(text: string): void
  /** A protocol ping of the worker. */
  pinged(): void
  closed(): void
}

/** Told what the worker gets to see, right after it was told itself. */
export interface NetworkObserver {
  /** A socket told its owner that it is gone. */
  lost(socket: number): void
  /** A frame was delivered behind at least one that never came. */
  gap(socket: number): void
  /** The worker does not get the frames of this socket as the exchange sent them. */
  harmed(socket: number): void
}

export class SimulatedNetwork {
  faults: NetworkFaults = NO_NETWORK_FAULTS
  /** The socket that is telling its owner that it is open; -1 outside of it. */
  opening = -1
  /** How late the latest of all that came was, microseconds. */
  latenessUs = 0
  /** Sockets so far. */
  connects = 0
  /** Those of them that a worker could rightly take for dead. */
  deadly = 0
  /** Added to the latency of every frame, microseconds. */
  extraLatencyUs = 0
  /** No attempt to connect succeeds. */
  unreachable = false
  /** By how much the server of the next socket is behind the others, microseconds. */
  lagUs: () => number = () => 0
  readonly clock: VirtualClock
  readonly random: Random
  readonly tally: Tally
  readonly observer: NetworkObserver
  readonly #accept: (socket: SimulatedSocket) => ServerEnd | undefined
  readonly #open = new Map<number, SimulatedSocket>()
  /** The worker was told to connect no more until then. */
  #toldUntilUs = 0

  /** `accept` gives undefined when the exchange does not want the connection. */
  constructor(
    clock: VirtualClock,
    random: Random,
    tally: Tally,
    observer: NetworkObserver,
    accept: (socket: SimulatedSocket) => ServerEnd | undefined,
  ) {
    this.clock = clock
    this.random = random
    this.tally = tally
    this.observer = observer
    this.#accept = accept
  }

  /** A worker's socket; `isAlive` says whether there is still somebody to tell. */
  openSocket(url: string, events: SocketEvents, isAlive: () => boolean): SimulatedSocket {
    const socket = new SimulatedSocket(this, this.connects++, url, events, isAlive)
    this.#open.set(socket.id, socket)
    if (this.clock.timeUs < this.#toldUntilUs) {
      this.tally.violation(`socket ${socket.id} in spite of Retry-After`)
    }
    if (this.random.chance(this.faults.hang)) {
      this.tally.count('connect hang')
      return socket
    }
    const refused = this.unreachable || this.random.chance(this.faults.refuse)
    this.clock.after(this.latencyUs(), () => {
      if (socket.isClosed) return
      if (refused) this.tally.count('connect refused')
      const server = refused ? undefined : this.#accept(socket)
      // Some of them in words, as an exchange's edge does.
      if (refused && !this.unreachable && socket.id % 4 === 3) socket.refused(RETRY_AFTER_MS)
      else if (server === undefined) socket.refused()
      else socket.accepted(server)
    })
    return socket
  }

  /** Not closed, as far as the worker knows. */
  isOpen(socket: number): boolean {
    return this.#open.has(socket)
  }

  /** Open, as far as the worker knows, and nothing has passed for so long, microseconds. */
  isDeadFor(socket: number, us: number): boolean {
    const since = this.#open.get(socket)?.silentUs ?? Infinity
    return this.clock.timeUs - since >= us
  }

  /** Every socket breaks at once. */
  breakAll(): void {
    for (const socket of [...this.#open.values()]) socket.break()
  }

  /** The worker's process died: the kernel closes its sockets. */
  abandonAll(): void {
    for (const socket of [...this.#open.values()]) socket.hangUp()
  }

  /** A worker that was not there before knows of nothing. */
  told(retryAfterMs: number): void {
    this.#toldUntilUs = retryAfterMs === 0 ? 0 : this.clock.timeUs + retryAfterMs * 1000
  }

  forget(socket: SimulatedSocket): void {
    this.#open.delete(socket.id)
  }

  latencyUs(): number {
    const { random } = this
    const base = random.chance(0.03) ? random.int(2_000, 40_000) : random.int(300, 1_500)
    return base + this.extraLatencyUs
  }
}

/** As told to some that are refused. */
const RETRY_AFTER_MS = 6000

/** What is this late may be taken for lost. */
const DEADLY_US = 4e6

type State = 'connecting' | 'open' | 'closed'

/** Both ends of one connection: the worker's as `Socket`, the exchange's by `transmit` and `end`. */
export class SimulatedSocket implements Socket {
  readonly id: number
  readonly url: string
  bufferedBytes = 0
  /** Nothing passes any more, or something the worker sent was kept from the exchange. */
  disturbed = false
  /** Something that the exchange sent came late, or not as it was sent. */
  hindered = false
  /** How late the latest of what came was, microseconds. */
  latenessUs = 0
  /** What this server tells is older than what others tell. */
  readonly #lagUs: number
  readonly #network: SimulatedNetwork
  readonly #events: SocketEvents
  readonly #isAlive: () => boolean
  #state: State = 'connecting'
  #server: ServerEnd | undefined
  /** Since when nothing passes any more; Infinity: it does. */
  silentUs = Infinity
  #silent = false
  #wasDeadly = false
  #downUs = 0
  #upUs = 0
  #expected = 0
  #paused = false
  #held: (() => void)[] = []

  constructor(
    network: SimulatedNetwork,
    id: number,
    url: string,
    events: SocketEvents,
    isAlive: () => boolean,
  ) {
    this.#network = network
    this.id = id
    this.url = url
    this.#lagUs = network.lagUs()
    this.hindered = this.#lagUs > 0
    this.latenessUs = this.#lagUs
    this.#events = events
    this.#isAlive = isAlive
  }

  get isClosed(): boolean {
    return this.#state === 'closed'
  }

  // ---- the worker's end

  send(text: string): void {
    const { clock, tally } = this.#network
    if (this.#state !== 'open') return tally.violation(`socket ${this.id}: send while not open`)
    tally.trace(() => `socket ${this.id} > ${text}`)
    if (this.#silent) {
      this.bufferedBytes += text.length
      return
    }
    this.#upUs = Math.max(this.#upUs, clock.timeUs + this.#network.latencyUs())
    clock.after(this.#upUs - clock.timeUs, () => {
      if (!this.#silent) this.#server?.received(text)
    })
  }

  /** The exchange's end answers by itself. */
  ping(): void {
    const { clock, tally } = this.#network
    if (this.#state !== 'open') return tally.violation(`socket ${this.id}: ping while not open`)
    tally.trace(() => `socket ${this.id} > a ping`)
    if (this.#silent) return
    this.#upUs = Math.max(this.#upUs, clock.timeUs + this.#network.latencyUs())
    clock.after(this.#upUs - clock.timeUs, () => {
      if (this.#silent || this.#server === undefined) return
      this.#server.pinged()
      this.#down(() => this.#alive())
    })
  }

  pause(): void {
    this.#paused = true
  }

  resume(): void {
    if (!this.#paused) return
    this.#paused = false
    this.#network.clock.after(0, () => this.#release())
  }

  terminate(): void {
    if (this.#state === 'closed') return
    this.hangUp()
    this.#network.clock.after(0, () => this.#tellClosed(1006, 'terminated'))
  }

  // ---- the exchange's end

  /** The exchange took the connection. */
  accepted(server: ServerEnd): void {
    this.#server = server
    this.#down(() => {
      if (this.#state !== 'connecting') return
      this.#state = 'open'
      this.#network.tally.trace(() => `socket ${this.id} open`)
      if (!this.#isAlive()) return
      this.#network.opening = this.id
      this.#events.opened()
      this.#network.opening = -1
    })
  }

  refused(retryAfterMs?: number): void {
    if (retryAfterMs === undefined) return this.#end(1006, 'connect ECONNREFUSED')
    this.#network.tally.count('connect refused for a while')
    this.#end(1006, 'HTTP 429', { status: 429, retryAfterMs })
  }

  /** One frame; `sequence` as in it, -1 when it has none. The bytes become the socket's. */
  transmit(bytes: Uint8Array, sequence: number): void {
    if (this.#lagUs === 0) this.#transmit(bytes, sequence)
    else this.#network.clock.after(this.#lagUs, () => this.#transmit(bytes, sequence))
  }

  #transmit(bytes: Uint8Array, sequence: number): void {
    if (this.#silent || this.#state === 'closed') return
    const { faults, random, tally, clock } = this.#network
    if (random.chance(faults.disconnect)) return this.break()
    if (random.chance(faults.halfOpen)) {
      tally.count('half-open')
      this.#silent = true
      this.silentUs = clock.timeUs
      this.disturbed = true
      this.#network.deadly++
      return
    }
    if (random.chance(faults.drop)) {
      this.#harm()
      return tally.count('frame dropped')
    }
    if (random.chance(faults.cut)) {
      this.#harm()
      tally.count('frame cut')
      bytes = bytes.slice(0, random.int(0, bytes.length - 1))
      sequence = -1
    }
    if (random.chance(faults.delay)) {
      this.hindered = true
      tally.count('frames delayed')
      this.#downUs = Math.max(this.#downUs, clock.timeUs) + random.int(20_000, 3_000_000)
    }
    if (random.chance(faults.reorder)) {
      this.#harm()
      tally.count('frame reordered')
      const behindUs = this.#network.latencyUs() + random.int(1_000, 400_000)
      clock.after(behindUs, () => this.#deliver(bytes, sequence))
      return
    }
    const copy = random.chance(faults.duplicate) ? bytes.slice() : undefined
    this.#down(() => this.#deliver(bytes, sequence))
    if (copy === undefined) return
    this.#harm()
    tally.count('frame duplicated')
    const deliverCopy = (): void => this.#deliver(copy, sequence)
    if (random.chance(0.5)) this.#down(deliverCopy)
    else clock.after(this.#network.latencyUs() + random.int(1_000, 400_000), deliverCopy)
  }

  /** A protocol ping, behind the frames sent before; the worker's socket answers by itself. */
  pingWorker(answered: () => void): void {
    if (this.#silent || this.#state === 'closed') return
    const { clock } = this.#network
    this.#down(() => {
      if (this.#silent || this.#state !== 'open') return
      this.#alive()
      clock.after(this.#network.latencyUs(), () => {
        if (!this.#silent) answered()
      })
    })
  }

  #alive(): void {
    if (this.#state === 'open' && !this.#silent && this.#isAlive()) this.#events.alive()
  }

  #harm(): void {
    this.hindered = true
    this.#network.observer.harmed(this.id)
  }

  /** The exchange ends the connection, behind the frames it sent before. */
  end(code: number, reason: string): void {
    if (this.#silent) return
    this.#server = undefined
    this.#down(() => this.#end(code, reason))
  }

  // ---- the line between

  /** Both ends learn, each after its latency, that the connection is gone. */
  break(): void {
    if (this.#silent || this.#state === 'closed') return
    this.#network.tally.count('disconnect')
    this.#silent = true
    this.disturbed = true
    this.#network.clock.after(this.#network.latencyUs(), () => this.#end(1006, 'reset by peer'))
  }

  /** The worker's end is gone; the exchange learns it later. */
  hangUp(): void {
    if (this.#state === 'closed') return
    this.#state = 'closed'
    this.#held = []
    this.#network.forget(this)
    this.disturbed = true
    const server = this.#server
    this.#server = undefined
    if (server !== undefined) {
      this.#network.clock.after(this.#network.latencyUs(), () => server.closed())
    }
  }

  #end(code: number, reason: string, refusal?: Refusal): void {
    if (this.#state === 'closed') return
    this.hangUp()
    this.#tellClosed(code, reason, refusal)
  }

  #tellClosed(code: number, reason: string, refusal?: Refusal): void {
    const { tally, observer } = this.#network
    tally.trace(() => `socket ${this.id} closed: ${code} ${reason}`)
    if (!this.#isAlive()) return
    if (refusal?.retryAfterMs !== undefined) this.#network.told(refusal.retryAfterMs)
    this.#events.closed(code, reason, refusal)
    observer.lost(this.id)
  }

  /** In order behind everything that is under way to the worker. */
  #down(arrive: () => void): void {
    const { clock } = this.#network
    const sentUs = clock.timeUs
    this.#downUs = Math.max(this.#downUs, sentUs + this.#network.latencyUs())
    const arrived = (): void => {
      const latenessUs = clock.timeUs - sentUs
      // An answer to a ping would have come as late.
      if (latenessUs >= DEADLY_US && !this.#wasDeadly) this.#network.deadly++
      this.#wasDeadly ||= latenessUs >= DEADLY_US
      this.latenessUs = Math.max(this.latenessUs, latenessUs + this.#lagUs)
      const network = this.#network
      network.latenessUs = Math.max(network.latenessUs, this.latenessUs)
      arrive()
    }
    clock.after(this.#downUs - sentUs, () => {
      if (this.#paused) this.#held.push(arrived)
      else arrived()
    })
  }

  #release(): void {
    while (!this.#paused && this.#held.length > 0) this.#held.shift()!()
  }

  #deliver(bytes: Uint8Array, sequence: number): void {
    if (this.#state !== 'open' || this.#silent || !this.#isAlive()) return
    const network = this.#network
    network.tally.trace(() =>
      `socket ${this.id} < ${new TextDecoder().decode(bytes).slice(0, 220)}`
    )
    this.#events.received(bytes)
    // The receiver owns them for the call only; what it kept would now be wrong.
    bytes.fill(0x2e)
    if (sequence < 0) return
    if (sequence > this.#expected) network.observer.gap(this.id)
    this.#expected = Math.max(this.#expected, sequence + 1)
  }
}
