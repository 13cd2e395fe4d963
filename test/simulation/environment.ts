/** The `Environment` of one simulated worker process: ends with it, whatever is still under way. */
import type {
  Environment,
  HttpResponse,
  Socket,
  SocketEvents,
  Timer,
} from '../../src/core/environment.ts'
import type { Random, VirtualClock } from './clock.ts'
import type { SimulatedNetwork } from './network.ts'

export class VirtualEnvironment implements Environment {
  /** False: the process is gone, nothing calls back any more. */
  alive = true
  readonly #clock: VirtualClock
  readonly #random: Random
  readonly #network: SimulatedNetwork

  constructor(clock: VirtualClock, random: Random, network: SimulatedNetwork) {
    this.#clock = clock
    this.#random = random
    this.#network = network
  }

  nowUs(): number {
    return this.#clock.nowUs()
  }

  monotonicMs(): number {
    return this.#clock.timeUs / 1000
  }

  setTimer(delayMs: number, callback: () => void): Timer {
    // Timers come late, never early.
    const lateUs = this.#random.int(0, 400)
    return this.#clock.after(delayMs * 1000 + lateUs, () => {
      if (this.alive) callback()
    })
  }

  random(): number {
    return this.#random.next()
  }

  openSocket(_url: string, events: SocketEvents): Socket {
    return this.#network.openSocket(events, () => this.alive)
  }

  /** Nothing in these worlds answers HTTP. */
  httpGet(_url: string, timeoutMs: number, done: (response: HttpResponse) => void): Timer {
    return this.setTimer(timeoutMs, () => done({ status: 0, body: 'no answer' }))
  }
}
