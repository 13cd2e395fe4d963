/** Which addresses of the cluster answer, which do not, and where a connection should begin. */
import { Buffer } from 'node:buffer'
import type { Socket } from 'node:net'

export interface Address {
  readonly host: string
  readonly port: number
}

/** Opens a connection; `opened` when it can be written to. */
export type Connect = (address: Address, opened: () => void) => Socket

/** `host:port` or `[v6]:port`, as settings hold it. */
export function parseAddress(text: string): Address {
  const colon = text.lastIndexOf(':')
  const host = text.slice(0, colon).replace(/^\[(.*)\]$/, '$1')
  return { host, port: Number(text.slice(colon + 1)) }
}

export function formatAddress({ host, port }: Address): string {
  return host.includes(':') ? `[${host}]:${port}` : `${host}:${port}`
}

/** ApiVersions v0 with correlation id 7: the first thing every broker answers, also before a login. */
const REQUEST = Buffer.from('00000010001200000000000700066f6266656564', 'hex')
const ANSWER_BYTES = 8
const CORRELATION_ID = 7

export class Reach {
  /** In the order they were given. */
  readonly seeds: readonly Address[]
  /** The last failure, in words. */
  lastError: string | undefined
  readonly #connect: Connect
  readonly #timeoutMs: number
  /** By address: why it failed last; none when it answered since. */
  readonly #failures = new Map<string, string>()
  /** A seed that answered and has not failed since. */
  #remembered: Address | undefined
  /** Monotonic ms; undefined: something answered since the last failure. */
  #failingSinceMs: number | undefined
  #hasAnswered = false

  /** `timeoutMs`: how long a seed may take to answer. */
  constructor(brokers: readonly string[], connect: Connect, timeoutMs: number) {
    this.seeds = brokers.map(parseAddress)
    this.#connect = connect
    this.#timeoutMs = timeoutMs
  }

  /** How long nothing has answered although it was tried, ms; 0: that is not so. */
  get failingMs(): number {
    return this.#failingSinceMs === undefined ? 0 : performance.now() - this.#failingSinceMs
  }

  answered(address: Address): void {
    this.#failingSinceMs = undefined
    this.#hasAnswered = true
    if (this.#failures.size > 0) this.#failures.delete(formatAddress(address))
  }

  failed(address: Address, reason: string): void {
    const name = formatAddress(address)
    this.#failures.set(name, reason)
    this.lastError = `${name}: ${reason}`
    this.#failingSinceMs ??= performance.now()
    const known = this.#remembered
    if (known !== undefined && known.host === address.host && known.port === address.port) {
      this.#remembered = undefined
    }
  }

  /**
   * The seed to begin with: the one that answered last, or the first to answer of all, asked side by
   * side. One that hangs costs nothing while another lives. Rejects when none answers in time.
   */
  async choose(): Promise<Address> {
    if (this.seeds.length === 1) return this.seeds[0]
    if (this.#remembered !== undefined) return this.#remembered
    const sockets: Socket[] = []
    try {
      const chosen = await Promise.any(this.seeds.map((seed) => this.#ask(seed, sockets)))
      this.#remembered = chosen
      return chosen
    } catch {
      throw new Error(this.reasons() ?? 'no answer')
    } finally {
      for (const socket of sockets) socket.destroy()
    }
  }

  /** Why addresses failed: `kafka-1:9092: connection refused, ...`; undefined: none did. */
  reasons(): string | undefined {
    if (this.#failures.size === 0) return undefined
    return [...this.#failures].map(([name, reason]) => `${name}: ${reason}`).join(', ')
  }

  /**
   * Addresses that the cluster itself named and that failed, with the reasons, when it is they that
   * are to blame: the address that was given answered.
   */
  unreachableAdvertised(): string | undefined {
    if (!this.#hasAnswered) return undefined
    const given = new Set(this.seeds.map(formatAddress))
    const failing = [...this.#failures].filter(([name]) => !given.has(name))
    const seedsFail = this.seeds.every((seed) => this.#failures.has(formatAddress(seed)))
    if (failing.length === 0 || seedsFail) return undefined
    return failing.map(([name, reason]) => `${name} (${reason})`).join(', ')
  }

  #ask(seed: Address, sockets: Socket[]): Promise<Address> {
    return new Promise((resolve, reject) => {
      const socket = this.#connect(seed, () => socket.write(REQUEST))
      sockets.push(socket)
      let answer = Buffer.alloc(0)
      let isOver = false
      const fail = (reason: string) => {
        if (isOver) return
        isOver = true
        clearTimeout(timer)
        this.failed(seed, reason)
        reject(new Error(reason))
      }
      const timer = setTimeout(() => {
        fail(`no answer within ${this.#timeoutMs} ms`)
        socket.destroy()
      }, this.#timeoutMs)
      socket.on('error', (error) => fail(error.message))
      socket.on('close', () => {
        clearTimeout(timer)
        isOver = true // by us, or `error` came before
      })
      socket.on('end', () => fail('it hung up'))
      socket.on('data', (bytes: Uint8Array) => {
        if (isOver) return
        answer = Buffer.concat([answer, bytes])
        if (answer.length < ANSWER_BYTES) return
        if (answer.readInt32BE(4) !== CORRELATION_ID) return fail('it does not speak Kafka')
        isOver = true
        clearTimeout(timer)
        this.answered(seed)
        resolve(seed)
      })
    })
  }
}
