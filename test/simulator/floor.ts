/** A simulated exchange and its clients without any I/O, under a clock that the test turns. */
import type { ExchangeOptions, SimulatedExchange } from '../../src/simulator/exchange.ts'
import { twinOf } from '../../src/simulator/registry.ts'

const decoder = new TextDecoder()

export class Floor {
  readonly exchange: SimulatedExchange
  readonly closed: { connection: number; code: number; reason: string }[] = []
  /** Protocol pings, by connection. */
  readonly pings: number[] = []
  /** Texts by connection, in order. */
  readonly frames = new Map<number, string[]>()
  nowMs = 1_795_362_721_000
  readonly #listen: (connection: number, text: string) => void

  constructor(
    exchange: string,
    options: ExchangeOptions,
    listen: (connection: number, text: string) => void = () => {},
  ) {
    this.#listen = listen
    this.exchange = twinOf(exchange).create(options, {
      frame: (connection, bytes) => {
        const text = decoder.decode(bytes)
        this.of(connection).push(text)
        this.#listen(connection, text)
      },
      close: (connection, code, reason) => this.closed.push({ connection, code, reason }),
      ping: (connection) => this.pings.push(connection),
    })
    this.exchange.tick(this.nowMs)
  }

  of(connection: number): string[] {
    let texts = this.frames.get(connection)
    if (texts === undefined) {
      texts = []
      this.frames.set(connection, texts)
    }
    return texts
  }

  connect(target?: string): number {
    return this.exchange.connect(this.nowMs, target)
  }

  say(connection: number, message: unknown): void {
    const text = typeof message === 'string' ? message : JSON.stringify(message)
    this.exchange.receive(connection, text, this.nowMs)
  }

  run(ms: number, stepMs = 10): void {
    for (let passed = 0; passed < ms; passed += stepMs) {
      this.nowMs += stepMs
      this.exchange.tick(this.nowMs)
    }
  }

  get(path: string): ReturnType<SimulatedExchange['rest']> {
    const url = new URL(path, 'http://localhost')
    return this.exchange.rest(url.pathname, url.searchParams, this.nowMs)
  }
}
