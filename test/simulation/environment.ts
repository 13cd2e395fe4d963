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

/** Answers one GET, now; undefined: never. */
export type HttpServer = (url: string) => HttpResponse | undefined

export class VirtualEnvironment implements Environment {
  /** False: the process is gone, nothing calls back any more. */
  alive = true
  readonly #clock: VirtualClock
  readonly #random: Random
  readonly #network: SimulatedNetwork
  readonly #server: HttpServer

  constructor(
    clock: VirtualClock,
    random: Random,
    network: SimulatedNetwork,
    server: HttpServer,
  ) {
    this.#clock = clock
    this.#random = random
    this.#network = network
    this.#server = server
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

  openSocket(url: string, events: SocketEvents): Socket {
    return this.#network.openSocket(url, events, () => this.alive)
  }

  httpGet(url: string, timeoutMs: number, done: (response: HttpResponse) => void): Timer {
    const network = this.#network
    const { faults, random, tally } = network
    let ended = false
    const end = (response: HttpResponse): void => {
      if (ended) return
      ended = true
      timeout.cancel()
      if (!this.alive) return
      tally.trace(() => `GET ${url} < ${response.status} ${response.body.slice(0, 200)}`)
      done(response)
    }
    const timeout = this.setTimer(timeoutMs, () => end({ status: 0, body: 'no answer' }))
    tally.trace(() => `GET ${url}`)
    this.#clock.after(network.latencyUs(), () => {
      if (ended) return
      if (network.unreachable) return end({ status: 0, body: 'connect ECONNREFUSED' })
      const response = this.#server(url)
      if (response === undefined) return
      if (random.chance(faults.httpLost ?? 0)) return tally.count('answer lost')
      let latencyUs = network.latencyUs()
      if (random.chance(faults.httpSlow ?? 0)) {
        tally.count('answer slow')
        latencyUs += random.int(100_000, 6_000_000)
      }
      this.#clock.after(latencyUs, () => end(response))
    })
    return {
      cancel() {
        ended = true
        timeout.cancel()
      },
    }
  }
}
