/** The feed's part of one ccxt connection: its session, and a listener behind it. */
import assert from 'node:assert/strict'
import type { Socket } from '../../../src/core/environment.ts'
import type { Instrument } from '../../../src/core/instrument.ts'
import { overrideEndpoint } from '../../../src/core/endpoint.ts'
import type { Adapter, Session } from '../../../src/exchanges/adapter.ts'
import { type CcxtFrame, CcxtSession } from '../../../src/exchanges/ccxt-session.ts'
import { ccxtAdapter } from '../../../src/exchanges/ccxt.ts'
import { Listener } from '../listener.ts'

const decoder = new TextDecoder()

/** Messages of the session reach the socket at once. */
class Wired extends Listener {
  socket: Socket | undefined

  override send(text: string): void {
    super.send(text)
    this.socket?.send(text)
  }
}

export class CcxtClient {
  readonly frames: CcxtFrame[] = []
  readonly listener: Wired
  readonly session: Session
  readonly adapter: Adapter
  readonly socket: Socket
  /** Why it was closed. */
  closed: string | undefined
  opened = false
  /** Signs of life that were no frames. */
  signs = 0

  /** `authority`: host, port and path in front of every address. */
  constructor(
    exchange: string,
    instruments: readonly Instrument[],
    authority: string,
    depth = 100,
  ) {
    this.adapter = ccxtAdapter(exchange)!
    this.listener = new Wired(instruments)
    this.session = this.adapter.open(instruments, this.listener, depth)
    assert.ok(this.session instanceof CcxtSession)
    const url = overrideEndpoint(this.adapter.url(instruments), `ws://${authority}`)
    this.socket = this.adapter.openSocket!(
      url,
      {
        opened: () => {
          this.opened = true
          this.session.opened()
        },
        received: (frame) => {
          this.frames.push(JSON.parse(decoder.decode(frame)))
          this.session.received(frame, 1)
        },
        alive: () => this.signs++,
        closed: (_code, reason) => {
          assert.equal(this.closed, undefined, 'closed only once')
          this.closed = reason
        },
      },
      instruments,
      `http://${authority}`,
    )
    this.listener.socket = this.socket
  }

  /** All books are live. */
  get isLive(): boolean {
    return this.listener.books.every((book) => book !== undefined)
  }

  /** What went wrong so far, for messages. */
  get troubles(): string {
    const { suspects, failures } = this.listener
    return JSON.stringify({
      closed: this.closed,
      suspects,
      failures: failures.map(({ message }) => message),
    })
  }
}
