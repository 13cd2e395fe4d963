/** The door to kafkajs: how a connection to the cluster is made, watched and ended. */
import kafkajs from 'kafkajs'
import type { ISocketFactory, Kafka, KafkaConfig, LogEntry, SASLOptions } from 'kafkajs'
import net from 'node:net'
import type { Socket } from 'node:net'
import tls from 'node:tls'
import { foreignText } from '../core/foreign-text.ts'
import { compress, decompress } from './codecs.ts'
import { listenTo, repairKafkajs } from './kafkajs-internals.ts'
import { Reach } from './reach.ts'
import type { Address } from './reach.ts'

export type KafkaLog = (level: 'error' | 'warn' | 'info' | 'debug', message: string) => void

export interface KafkaClientOptions {
  /** `host:port` or `[v6]:port`, at least one. */
  readonly brokers: readonly string[]
  readonly clientId?: string
  /** Where the client library's messages go; by default nowhere. Never stdout. */
  readonly log?: KafkaLog
  /** Absent: no login. */
  readonly sasl?: KafkaLogin
  /** TLS with the certificate authorities of the runtime. */
  readonly tls?: boolean
  /** A socket with an unanswered request and nothing read for so long is dead. */
  readonly stallTimeoutMs?: number
  /** How names become addresses; the runtime's way when absent. */
  readonly lookup?: net.LookupFunction
}

/** How a broker's quota holds a client back. */
export interface Throttling {
  totalMs: number
  /** What the broker asked for last; 0: never. */
  lastMs: number
  /** Monotonic: nothing is sent before. */
  untilMs: number
}

export interface KafkaLogin {
  readonly mechanism: 'plain' | 'scram-sha-256' | 'scram-sha-512'
  readonly username: string
  readonly password: string
}

export interface RetryPolicy {
  readonly initialRetryTime: number
  readonly maxRetryTime: number
  readonly retries: number
}

export const CONNECTION_TIMEOUT_MS = 10_000
export const REQUEST_TIMEOUT_MS = 15_000
/** How long a broker may wait for its replicas; less than the stall limit. */
export const ACK_TIMEOUT_MS = 5_000
const STALL_TIMEOUT_MS = 10_000
/** Below `CONNECTION_TIMEOUT_MS`, so that the reason is known when kafkajs gives up. */
const CONNECT_TIMEOUT_MS = 9_500
/** How long one of several seeds may take to answer; slow links need three round trips. */
const SEED_TIMEOUT_MS = 5_000
const KEEP_ALIVE_MS = 15_000

/**
 * Rides out a broker's restart, about 35 s of refused connections, and is back soon after it. The
 * delivery timeout usually ends it before; without an end, sends that were given up would add up.
 */
export const PATIENT: RetryPolicy = { initialRetryTime: 100, maxRetryTime: 2_000, retries: 20 }
/** For calls whose caller has its own loop. */
export const BRIEF: RetryPolicy = { initialRetryTime: 100, maxRetryTime: 1_000, retries: 1 }

/**
 * kafkajs brings gzip only. Synchronous inside the async function: the number of microtasks stays
 * the same for every batch size, and with it the order in which requests reach the socket.
 */
function registerCodecs(): void {
  const { GZIP, Snappy, LZ4, ZSTD } = kafkajs.CompressionTypes
  const codecs = [[GZIP, 'gzip'], [Snappy, 'snappy'], [LZ4, 'lz4'], [ZSTD, 'zstd']] as const
  for (const [type, codec] of codecs) {
    kafkajs.CompressionCodecs[type] = () => ({
      compress: async (encoder: { buffer: Uint8Array }) => compress(codec, encoder.buffer),
      decompress: async (bytes: Uint8Array) => decompress(codec, bytes),
    })
  }
}

/**
 * Everything one user of the cluster (a producer, an admin, a reader) holds: its own sockets, which
 * can be ended all at once.
 */
export interface Session {
  readonly kafka: Kafka
  readonly socketFactory: ISocketFactory
  /**
   * Destroys every socket and refuses new ones. Requests under way reject; whatever kafkajs still
   * retries fails at once from now on.
   */
  abort(): void
}

/** A Kafka cluster by its addresses; holds no connection itself. */
export class KafkaClient {
  readonly brokers: readonly string[]
  readonly clientId: string
  readonly reach: Reach
  /** Every producer identity the cluster gave to a session of this client. */
  readonly producerIds: Set<number> = new Set()
  readonly throttling: Throttling = { totalMs: 0, lastMs: 0, untilMs: -Infinity }
  readonly #log: KafkaLog
  readonly #stallTimeoutMs: number
  readonly #sasl: KafkaLogin | undefined
  readonly #tls: boolean
  readonly #lookup: net.LookupFunction | undefined
  /** By the name under which kafkajs knows the host of a seed. */
  readonly #hostOf = new Map<string, string>()

  constructor(options: KafkaClientOptions) {
    repairKafkajs()
    registerCodecs()
    this.brokers = options.brokers
    this.clientId = options.clientId ?? 'obfeed'
    this.#sasl = options.sasl
    this.#tls = options.tls ?? false
    this.#log = options.log ?? (() => {})
    this.#stallTimeoutMs = options.stallTimeoutMs ?? STALL_TIMEOUT_MS
    this.#lookup = options.lookup
    const timeoutMs = Math.min(this.#stallTimeoutMs, SEED_TIMEOUT_MS)
    this.reach = new Reach(
      options.brokers,
      (address, opened) => this.#connect(address, this.#tls, opened),
      timeoutMs,
    )
    // kafkajs splits a broker's name at its colons.
    for (const { host } of this.reach.seeds) this.#hostOf.set(host.replaceAll(':', '_'), host)
  }

  /** TLS and login as kafkajs takes them. */
  get security(): Pick<KafkaConfig, 'ssl' | 'sasl'> {
    const sasl = this.#sasl as SASLOptions | undefined
    return sasl === undefined ? { ssl: this.#tls } : { ssl: this.#tls, sasl }
  }

  /** Where a connection to the cluster begins, as kafkajs takes it. */
  get bootstrap(): () => Promise<string[]> {
    return async () => {
      const { host, port } = await this.reach.choose()
      return [`${host.replaceAll(':', '_')}:${port}`]
    }
  }

  #connect({ host, port }: Address, isTls: boolean, opened: () => void): Socket {
    const where = { host, port, ...(this.#lookup === undefined ? {} : { lookup: this.#lookup }) }
    return isTls
      ? tls.connect({ ...where, ...(net.isIP(host) ? {} : { servername: host }) }, opened)
      : net.connect(where, opened)
  }

  session(retry: RetryPolicy): Session {
    const sockets = new Set<Socket>()
    let ended = false
    const stallTimeoutMs = this.#stallTimeoutMs
    const socketFactory: ISocketFactory = ({ host, port, ssl, onConnect }) => {
      if (ended) throw new Error('session ended')
      const address = { host: this.#hostOf.get(host) ?? host, port }
      const socket = this.#connect(address, Boolean(ssl), onConnect)
      socket.setNoDelay(true)
      socket.setKeepAlive(true, KEEP_ALIVE_MS)
      sockets.add(socket)
      // Also because kafkajs detaches from a dead socket.
      socket.on('error', (error) => {
        if (!ended) this.reach.failed(address, error.message)
      })
      socket.on('data', () => this.reach.answered(address))
      socket.once('close', () => sockets.delete(socket))
      watchForStall(socket, stallTimeoutMs)
      return socket
    }
    listenTo(socketFactory, {
      producerId: (id) => this.producerIds.add(id),
      throttled: (ms) => {
        const { throttling } = this
        throttling.totalMs += ms
        throttling.lastMs = ms
        throttling.untilMs = Math.max(throttling.untilMs, performance.now() + ms)
      },
    })
    const log = this.#log
    const kafka = new kafkajs.Kafka({
      brokers: this.bootstrap,
      clientId: this.clientId,
      connectionTimeout: CONNECTION_TIMEOUT_MS,
      requestTimeout: REQUEST_TIMEOUT_MS,
      retry,
      socketFactory,
      ...this.security,
      logLevel: kafkajs.logLevel.WARN,
      logCreator: () => (entry) => {
        if (!ended) forward(log, entry)
      },
    })
    return {
      kafka,
      socketFactory,
      abort() {
        ended = true
        for (const socket of [...sockets]) socket.destroy(new Error('session ended'))
      },
    }
  }
}

function forward(log: KafkaLog, entry: LogEntry): void {
  const { message, error } = entry.log
  // The delivery timeout bounds the retries here, and a spent identity is never used again.
  if (message.startsWith('Limiting retries for the idempotent producer')) return
  const detail = typeof error === 'string' ? `: ${error}` : ''
  log(levelOf(entry), `kafkajs ${entry.namespace}: ${foreignText(`${message}${detail}`)}`)
}

/**
 * What kafkajs calls an error is an attempt that it repeats by itself, or that the caller reports;
 * single requests are a detail.
 */
function levelOf(entry: LogEntry): 'warn' | 'info' | 'debug' {
  if (entry.namespace === 'Connection' && entry.log.message.startsWith('Response ')) return 'debug'
  const { ERROR, WARN, INFO } = kafkajs.logLevel
  if (entry.level === ERROR || entry.level === WARN) return 'warn'
  return entry.level === INFO ? 'info' : 'debug'
}

/**
 * kafkajs never gives up a half-open socket: it times requests out and repeats them on the same
 * one. Every request it writes in one piece is answered by one length-prefixed response, so a
 * socket that owes an answer and stays silent is destroyed here, with an error, because kafkajs
 * does not listen to `close`. A connection that owes nothing may be silent for ever.
 */
function watchForStall(socket: Socket, stallTimeoutMs: number): void {
  let unanswered = 0
  let lastProgress = 0
  let bodyLeft = 0
  let prefixBytes = 0
  let prefix = 0

  const write = socket.write.bind(socket) as (...args: unknown[]) => boolean
  const watched = (...args: unknown[]): boolean => {
    if (unanswered === 0) lastProgress = performance.now()
    unanswered += 1
    return write(...args)
  }
  socket.write = watched as Socket['write']

  socket.on('data', (chunk: Uint8Array) => {
    lastProgress = performance.now()
    let at = 0
    while (at < chunk.length) {
      if (bodyLeft > 0) {
        const taken = Math.min(bodyLeft, chunk.length - at)
        bodyLeft -= taken
        at += taken
      } else {
        prefix = prefix * 256 + chunk[at]
        at += 1
        prefixBytes += 1
        if (prefixBytes < 4) continue
        bodyLeft = prefix
        prefix = 0
        prefixBytes = 0
      }
      if (bodyLeft === 0 && unanswered > 0) unanswered -= 1
    }
  })

  const openBy = performance.now() + Math.min(stallTimeoutMs, CONNECT_TIMEOUT_MS)
  const timer = setInterval(() => {
    if (socket.connecting && performance.now() > openBy) {
      clearInterval(timer)
      socket.destroy(
        new Error(`no connection within ${Math.min(stallTimeoutMs, CONNECT_TIMEOUT_MS)} ms`),
      )
      return
    }
    if (unanswered === 0 || performance.now() - lastProgress < stallTimeoutMs) return
    clearInterval(timer)
    socket.destroy(new Error(`no answer for ${stallTimeoutMs} ms`))
  }, Math.max(10, stallTimeoutMs / 4))
  timer.unref()
  socket.once('close', () => clearInterval(timer))
}
