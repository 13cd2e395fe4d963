/**
 * An exchange on 127.0.0.1 as ccxt sees it: WebSockets and REST of one family, which writes frames
 * in its own format about books that this file keeps.
 */
import { createServer, type IncomingMessage, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import { type WebSocket, WebSocketServer } from 'ws'
import type { Instrument } from '../../../src/core/instrument.ts'
import type { WireLevel } from '../fixture.ts'
import { applyLevel, type NaiveBook } from '../listener.ts'

/** What one change of the market did to one book. */
export interface Change {
  readonly index: number
  readonly levels: readonly WireLevel[]
  /** Number of the last level; each level has one of its own. */
  readonly sequence: number
  readonly timeMs: number
}

/** One WebSocket, as its family sees it. */
export interface Connection {
  /** Path and query it was opened with. */
  readonly path: string
  readonly subscribed: Set<number>
  send(message: unknown): void
  sendBytes(bytes: Uint8Array): void
}

/** The book as of the middle of its last change. */
export interface Middle {
  readonly book: NaiveBook
  /** Of the level in the middle. */
  readonly sequence: number
  /** Of the whole change. */
  readonly timeMs: number
}

/** The market, as a family sees it. */
export interface Market {
  readonly books: readonly NaiveBook[]
  /** Number of the last change of each book. */
  readonly sequences: readonly number[]
  readonly timeMs: number
  readonly middles: readonly Middle[]
}

/** How one exchange speaks. */
export interface Family {
  readonly id: string
  /** Two of them. */
  readonly instruments: readonly Instrument[]
  opened?(connection: Connection, market: Market): void
  received(connection: Connection, text: string, market: Market): void
  changed(connection: Connection, change: Change, market: Market): void
  /** The answer to a request; undefined: 404. */
  rest?(request: { path: string; body: string }, market: Market): unknown
}

/** `[price, size]` of one side, best first. */
export function side(book: NaiveBook, name: 'bid' | 'ask'): [string, string][] {
  const levels: [string, string][] = []
  for (const [key, size] of book) {
    const [own, price] = key.split(' ')
    if (own === name) levels.push([price!, size])
  }
  return levels.sort(([a], [b]) => name === 'bid' ? Number(b) - Number(a) : Number(a) - Number(b))
}

/** The changed levels of one side. */
export function changed(levels: readonly WireLevel[], name: 'bid' | 'ask'): [string, string][] {
  return levels.filter(([own]) => own === name).map(([, price, size]) => [price, size])
}

const FIRST_TIME_MS = 1_782_340_000_000

export class StubExchange implements Market {
  readonly books: NaiveBook[] = []
  readonly sequences: number[] = []
  readonly middles: Middle[] = []
  timeMs = FIRST_TIME_MS
  readonly requests: string[] = []
  /** Messages of clients, and the paths of their sockets. */
  readonly heard: string[] = []
  /** Sockets that were ever opened. */
  opened = 0
  readonly #family: Family
  readonly #connections: Map<WebSocket, Connection> = new Map()
  readonly #server: Server
  readonly #sockets: WebSocketServer

  constructor(family: Family) {
    this.#family = family
    family.instruments.forEach((_, index) => {
      this.books.push(new Map())
      this.sequences.push(1000 + index)
      this.middles.push({ book: new Map(), sequence: 0, timeMs: 0 })
    })
    this.#server = createServer((request, response) => {
      let body = ''
      request.on('data', (part) => body += part)
      request.on('end', () => {
        const path = request.url!
        this.requests.push(path)
        const answer = family.rest?.({ path, body }, this)
        response.writeHead(answer === undefined ? 404 : 200, { 'content-type': 'application/json' })
        response.end(JSON.stringify(answer ?? { error: 'not found' }))
      })
    })
    this.#sockets = new WebSocketServer({ server: this.#server })
    this.#sockets.on('connection', (socket, request) => this.#accept(socket, request))
  }

  async listen(): Promise<void> {
    await new Promise<void>((done) => this.#server.listen(0, '127.0.0.1', done))
  }

  get authority(): string {
    return `127.0.0.1:${(this.#server.address() as AddressInfo).port}`
  }

  get open(): number {
    return this.#connections.size
  }

  #accept(socket: WebSocket, request: IncomingMessage): void {
    this.opened++
    const connection: Connection = {
      path: request.url!,
      subscribed: new Set(),
      send: (message) => {
        socket.send(typeof message === 'string' ? message : JSON.stringify(message))
      },
      sendBytes: (bytes) => socket.send(bytes),
    }
    this.#connections.set(socket, connection)
    this.heard.push(connection.path)
    socket.on('close', () => this.#connections.delete(socket))
    socket.on('message', (data) => {
      this.heard.push(String(data))
      this.#family.received(connection, String(data), this)
    })
    this.#family.opened?.(connection, this)
  }

  /** A change of the market, told to all who are subscribed. */
  change(index: number, levels: readonly WireLevel[]): void {
    const book = this.books[index]!
    this.timeMs += 7
    const { timeMs } = this
    levels.forEach(([name, price, size], position) => {
      applyLevel(book, name, price, size)
      this.sequences[index]!++
      if (position === levels.length >> 1) {
        this.middles[index] = { book: new Map(book), sequence: this.sequences[index]!, timeMs }
      }
    })
    const change = { index, levels, sequence: this.sequences[index]!, timeMs }
    for (const connection of this.#connections.values()) {
      if (connection.subscribed.has(index)) this.#family.changed(connection, change, this)
    }
  }

  /** Something that is no change of a book, to all. */
  say(message: unknown): void {
    for (const connection of this.#connections.values()) connection.send(message)
  }

  /** Ends all sockets without a word. */
  cut(): void {
    for (const socket of this.#connections.keys()) socket.terminate()
  }

  close(): void {
    this.cut()
    this.#sockets.close()
    this.#server.close()
    this.#server.closeAllConnections()
  }
}
