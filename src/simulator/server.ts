/** A simulated exchange on a loopback port: WebSocket, REST and control endpoints. */
import { Buffer } from 'node:buffer'
import { createServer } from 'node:http'
import type { IncomingMessage, ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import type { Duplex } from 'node:stream'
import { WebSocketServer } from 'ws'
import type { RawData, WebSocket } from 'ws'
import { ObfeedError } from '../core/errors.ts'
import type { ConnectionStats } from './connection.ts'
import type { Declared } from './exchange-faults.ts'
import type { ExchangeOptions, ExchangeStats, SimulatedExchange, Violation } from './exchange.ts'
import { faultFrom, FaultLine, isExchangeFault, parseFault } from './faults.ts'
import type { FaultKind, FaultSpec } from './faults.ts'
import type { BookTruth } from './market.ts'
import { hashText, Random } from './random.ts'
import { twinOf } from './registry.ts'
import type { Twin } from './twin.ts'

export interface SimulatorOptions extends Omit<ExchangeOptions, 'faults'> {
  /** ccxt id, one of `registry.ts`. coinbase. */
  readonly exchange?: string
  /** 0 takes a free port. */
  readonly port?: number
  readonly host?: string
  /** Specifications, or their text as on the command line. */
  readonly faults?: readonly (FaultSpec | string)[]
  /** Market frames leave in bursts this far apart. 5. */
  readonly tickMs?: number
  /** A client with more unsent bytes than this is cut off, as an exchange does. 64 MiB. */
  readonly clientBufferBytesMax?: number
}

export interface SimulatorStats extends ExchangeStats {
  readonly paused: boolean
  /** Clients cut off because they did not read. */
  slowClients: number
  readonly faultHits: Partial<Record<FaultKind, number>>
  readonly declared: readonly Declared[]
  /** The rules that were broken last, counted in `violations`. */
  readonly broken: readonly Violation[]
  readonly connections: readonly (ConnectionStats & { bufferedBytes: number })[]
}

export interface Simulator {
  readonly port: number
  readonly wsUrl: string
  readonly restUrl: string
  readonly exchange: SimulatedExchange
  /** Arms a fault: line faults on every connection, present and future. */
  control(fault: FaultSpec | string): void
  /** Disarms all faults; what was struck stays struck. */
  clearFaults(): void
  /** Stops the market; heartbeats and everything else go on. */
  pause(): void
  resume(): void
  truth(symbol: string, depth?: number): BookTruth | undefined
  stats(): SimulatorStats
  /** Ends every connection and frees the port. */
  close(): Promise<void>
}

interface Client {
  readonly id: number
  readonly ws: WebSocket
  readonly stream: Duplex
  line: FaultLine
}

/** A snapshot is only made for a client that has taken the former ones. */
const READY_BYTES = 8 * 1024 * 1024

/** Wall clock with microseconds, for the stamps on frames. */
function nowMs(): number {
  return performance.timeOrigin + performance.now()
}

/** @throws ObfeedError when the port is taken or an option is wrong. */
export function startSimulator(options: SimulatorOptions): Promise<Simulator> {
  const simulator = new SimulatorServer(twinOf(options.exchange ?? 'coinbase'), options)
  return simulator.listen()
}

/** Compiles the encoder, so that the first client does not wait 200 ms for its first snapshot. */
function warmUp(twin: Twin): void {
  const symbols = twin.rules.defaultSymbols.slice(0, 1)
  const exchange = twin.create({ symbols, levels: 2000, rate: 0 }, {
    frame: () => {},
    close: () => {},
  })
  const [product] = exchange.products
  for (let round = 0; round < 8; round++) {
    const id = exchange.connect(round * 1000, twin.target?.(product!.symbol))
    exchange.receive(id, twin.subscribeText(product!.wireSymbol), round * 1000)
    exchange.tick(round * 1000)
    exchange.tick(round * 1000 + 10)
    exchange.advance(200, round * 1000 + 10)
  }
}

class SimulatorServer implements Simulator {
  port = 0
  readonly exchange: SimulatedExchange
  readonly #twin: Twin
  readonly #ownFaults: readonly string[]
  readonly #options: SimulatorOptions
  readonly #host: string
  readonly #http = createServer((request, response) => this.#request(request, response))
  readonly #sockets = new WebSocketServer({
    noServer: true,
    perMessageDeflate: false,
    maxPayload: 1024 * 1024,
    // A half-open line answers no ping.
    autoPong: false,
  })
  readonly #clients = new Map<number, Client>()
  readonly #random: Random
  readonly #bufferMax: number
  #lineFaults: FaultSpec[] = []
  #slowClients = 0
  readonly #hits: Partial<Record<FaultKind, number>> = {}
  #timer: ReturnType<typeof setInterval> | undefined

  constructor(twin: Twin, options: SimulatorOptions) {
    this.#twin = twin
    this.#ownFaults = Object.keys(twin.rules.faults ?? {})
    this.#options = options
    this.#host = options.host ?? '127.0.0.1'
    this.#bufferMax = options.clientBufferBytesMax ?? 64 * 1024 * 1024
    this.#random = new Random(hashText('lines', options.seed ?? 1))
    const faults = (options.faults ?? []).map((fault) =>
      typeof fault === 'string' ? parseFault(fault, this.#ownFaults) : fault
    )
    this.#lineFaults = faults.filter((fault) => !isExchangeFault(fault.kind))
    this.exchange = twin.create({ ...options, faults }, {
      frame: (connection, bytes) => {
        const client = this.#clients.get(connection)
        if (client !== undefined) client.line.frame(bytes, nowMs())
      },
      close: (connection, code, reason) => {
        const client = this.#clients.get(connection)
        this.#clients.delete(connection)
        // The last frame must leave first, and half-open peers never answer.
        client?.stream.uncork()
        if (client?.line.silent === true) client.ws.terminate()
        else client?.ws.close(code, reason)
      },
      ping: (connection) => {
        const client = this.#clients.get(connection)
        if (client?.line.silent === false && client.ws.readyState === client.ws.OPEN) {
          client.ws.ping()
        }
      },
      ready: (connection) => (this.#clients.get(connection)?.ws.bufferedAmount ?? 0) < READY_BYTES,
    })
  }

  get wsUrl(): string {
    return `ws://${this.#host}:${this.port}`
  }

  get restUrl(): string {
    return `http://${this.#host}:${this.port}`
  }

  listen(): Promise<Simulator> {
    warmUp(this.#twin)
    this.#http.on('upgrade', (request, stream, head) => this.#upgrade(request, stream, head))
    return new Promise((resolve, reject) => {
      this.#http.once('error', (error: Error) => {
        reject(
          new ObfeedError(
            'E_UNAVAILABLE',
            `cannot listen on ${this.#host}:${this.#options.port ?? 0}: ${error.message}; ` +
              'choose another port, or 0 for a free one',
            { scope: 'agent', exitCode: 69, cause: error },
          ),
        )
      })
      this.#http.listen(this.#options.port ?? 0, this.#host, () => {
        this.port = (this.#http.address() as AddressInfo).port
        this.#timer = setInterval(() => this.#tick(), this.#options.tickMs ?? 5)
        resolve(this)
      })
    })
  }

  control(fault: FaultSpec | string): void {
    const spec = typeof fault === 'string' ? parseFault(fault, this.#ownFaults) : fault
    if (isExchangeFault(spec.kind)) {
      this.exchange.inject(spec)
      return
    }
    // One that is meant for one strike must not strike each connection to come again.
    const lasting = spec.probability !== undefined || spec.everyMs !== undefined ||
      spec.after !== undefined
    if (lasting && spec.connection === undefined) this.#lineFaults.push(spec)
    for (const client of this.#clients.values()) client.line.add(spec)
  }

  clearFaults(): void {
    this.#lineFaults = []
    this.exchange.clearFaults()
    for (const client of this.#clients.values()) client.line.clear()
  }

  pause(): void {
    this.exchange.paused = true
  }

  resume(): void {
    this.exchange.paused = false
  }

  truth(symbol: string, depth?: number): BookTruth | undefined {
    return this.exchange.truth(symbol, depth)
  }

  stats(): SimulatorStats {
    const hits = { ...this.#hits }
    for (const client of this.#clients.values()) addHits(hits, client.line.hits)
    for (const { kind } of this.exchange.declared) hits[kind] = (hits[kind] ?? 0) + 1
    return {
      ...this.exchange.stats,
      paused: this.exchange.paused,
      slowClients: this.#slowClients,
      faultHits: hits,
      declared: this.exchange.declared,
      broken: this.exchange.violations,
      connections: this.exchange.connectionStats().map((connection) => ({
        ...connection,
        bufferedBytes: this.#clients.get(connection.id)?.ws.bufferedAmount ?? 0,
      })),
    }
  }

  close(): Promise<void> {
    clearInterval(this.#timer)
    for (const client of this.#clients.values()) client.ws.terminate()
    this.#clients.clear()
    return new Promise((resolve) => {
      this.#http.close(() => resolve())
      this.#http.closeAllConnections()
    })
  }

  /** One burst: everything due leaves each client's socket in one write. */
  #tick(): void {
    const now = nowMs()
    for (const client of this.#clients.values()) client.stream.cork()
    const corked = [...this.#clients.values()]
    this.exchange.tick(now)
    for (const client of corked) {
      client.line.tick(now)
      client.stream.uncork()
      if (client.ws.bufferedAmount > this.#bufferMax && this.#clients.has(client.id)) {
        this.#slowClients++
        this.#end(client)
      }
    }
  }

  #upgrade(request: IncomingMessage, stream: Duplex, head: Uint8Array): void {
    stream.on('error', () => stream.destroy())
    const id = this.exchange.connect(nowMs(), request.url)
    if (id < 0) {
      const status = id === -1 ? '429 Too Many Requests\r\nRetry-After: 2' : '404 Not Found'
      stream.end(`HTTP/1.1 ${status}\r\nConnection: close\r\nContent-Length: 0\r\n\r\n`)
      return
    }
    this.#sockets.handleUpgrade(request, stream, head as Buffer, (ws) => {
      const line = new FaultLine(id, this.#random, {
        frame: (bytes) => {
          if (ws.readyState === ws.OPEN) ws.send(bytes, { binary: false })
        },
        cut: () => this.#end(client),
      })
      const client: Client = { id, ws, stream, line }
      for (const fault of this.#lineFaults) line.add(fault)
      this.#clients.set(id, client)
      ws.on('message', (data: RawData) => {
        if (!line.silent) this.exchange.receive(id, data.toString(), nowMs())
      })
      ws.on('ping', (data: Uint8Array) => {
        if (line.silent || ws.readyState !== ws.OPEN) return
        this.exchange.pinged(id, nowMs())
        ws.pong(data)
      })
      ws.on('pong', () => {
        if (!line.silent) this.exchange.ponged(id, nowMs())
      })
      // An unanswered error event would end the process; `close` follows it.
      ws.on('error', () => {})
      ws.on('close', () => this.#gone(client))
    })
  }

  #end(client: Client): void {
    this.#gone(client)
    client.ws.terminate()
  }

  #gone(client: Client): void {
    if (!this.#clients.delete(client.id)) return
    addHits(this.#hits, client.line.hits)
    this.exchange.disconnected(client.id)
  }

  #request(request: IncomingMessage, response: ServerResponse): void {
    const url = new URL(request.url ?? '/', this.restUrl)
    if (url.pathname.startsWith('/control/')) {
      this.#controlRequest(request, url, response)
      return
    }
    if (request.method !== 'GET') {
      const message = `no ${request.method} ${url.pathname}`
      return respond(response, 404, { error: 'NOT_FOUND', message })
    }
    const { status, body, headers } = this.exchange.rest(url.pathname, url.searchParams, nowMs())
    // Status 0: the client waits in vain.
    if (status !== 0) respond(response, status, body, headers)
  }

  #controlRequest(request: IncomingMessage, url: URL, response: ServerResponse): void {
    const what = `${request.method} ${url.pathname}`
    switch (what) {
      case 'GET /control/truth':
        return this.#truthRequest(url.searchParams, response)
      case 'GET /control/stats':
        return respond(response, 200, this.stats())
      case 'GET /control/map':
        return respond(
          response,
          200,
          Object.fromEntries(this.exchange.products.map((product, i) => [product.symbol, i])),
        )
      case 'POST /control/pause':
        this.pause()
        return respond(response, 200, { paused: true })
      case 'POST /control/resume':
        this.resume()
        return respond(response, 200, { paused: false })
      case 'POST /control/clear':
        this.clearFaults()
        return respond(response, 200, { faults: 0 })
      case 'POST /control/rate': {
        const rate = Number(url.searchParams.get('rate') ?? 'NaN')
        if (!(rate >= 0)) {
          return respond(response, 400, { error: 'rate is missing, expected ?rate=FRAMES_PER_S' })
        }
        this.exchange.setRate(rate)
        return respond(response, 200, { rate })
      }
      case 'POST /control/fault':
        return this.#faultRequest(request, response)
      default:
        return respond(response, 404, {
          error: `no ${what}, expected GET truth, stats, map or POST fault, pause, resume, ` +
            'clear, rate under /control/',
        })
    }
  }

  #truthRequest(query: URLSearchParams, response: ServerResponse): void {
    const symbol = query.get('symbol') ?? ''
    const depth = Number(query.get('depth') ?? 'Infinity')
    const nonce = query.get('nonce')
    const connection = query.get('connection')
    if (nonce === null) {
      const book = this.exchange.truth(symbol, depth)
      if (book !== undefined) return respond(response, 200, book)
      return respond(response, 404, { error: `symbol "${symbol}" is not listed` })
    }
    const books = this.exchange.truthAtNonce(
      symbol,
      connection === null ? 'any' : Number(connection),
      Number(nonce),
      depth,
    )
    respond(response, 200, { books })
  }

  #faultRequest(request: IncomingMessage, response: ServerResponse): void {
    const parts: Uint8Array[] = []
    request.on('data', (part: Uint8Array) => parts.push(part))
    request.on('error', () => response.destroy())
    request.on('end', () => {
      try {
        const fault = faultFrom(JSON.parse(Buffer.concat(parts).toString()), this.#ownFaults)
        this.control(fault)
        respond(response, 200, { armed: fault })
      } catch (error) {
        respond(response, 400, { error: error instanceof Error ? error.message : String(error) })
      }
    })
  }
}

function addHits(
  to: Partial<Record<FaultKind, number>>,
  from: Partial<Record<FaultKind, number>>,
): void {
  for (const kind of Object.keys(from) as FaultKind[]) to[kind] = (to[kind] ?? 0) + from[kind]!
}

function respond(
  response: ServerResponse,
  status: number,
  body: unknown,
  headers: Readonly<Record<string, string>> = {},
): void {
  response.writeHead(status, { 'content-type': 'application/json', ...headers })
  response.end(JSON.stringify(body))
}
