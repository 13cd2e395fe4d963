/**
 * Stands between feed and sessions, changes nothing, and knows at any time whose word is heard: the
 * socket whose session speaks, and which sockets have a symbol's book.
 */
import type { LevelChanges } from '../../src/core/changes.ts'
import type { Adapter, SessionOutput } from '../../src/exchanges/adapter.ts'
import type { Tally } from './tally.ts'

/** One session of a socket. */
interface Heard {
  readonly socket: number
  readonly symbols: readonly string[]
  /** Symbols of which it has brought the whole book, and has not taken it back. */
  readonly brought: Set<string>
}

export class Witness {
  /** The socket whose session is telling of a book; -1: none is. */
  speaking = -1
  readonly #tally: Tally
  readonly #sessions: Heard[] = []

  constructor(tally: Tally) {
    this.#tally = tally
  }

  /** `opening`: the socket that is opening now, -1: none. */
  watch(adapter: Adapter, opening: () => number): Adapter {
    return {
      ...adapter,
      open: (instruments, output, depth) => {
        const socket = opening()
        // One that is only asked what it would say.
        if (socket < 0) return adapter.open(instruments, output, depth)
        const symbols = instruments.map(({ symbol }) => symbol)
        const heard: Heard = { socket, symbols, brought: new Set() }
        this.#sessions.push(heard)
        const session = adapter.open(instruments, this.#output(heard, output), depth)
        const splice = session.splice?.bind(session)
        if (splice !== undefined) {
          session.splice = (index, nonce) => {
            const spliced = splice(index, nonce)
            if (spliced) {
              heard.brought.add(symbols[index]!)
              this.#tally.count('book spliced')
            }
            return spliced
          }
        }
        return session
      },
    }
  }

  /** The first open socket after `socket` that has the symbol's book; -1: there is none. */
  successor(symbol: string, socket: number, isOpen: (socket: number) => boolean): number {
    const found = this.#sessions.find((one) =>
      one.socket > socket && one.brought.has(symbol) && isOpen(one.socket)
    )
    return found?.socket ?? -1
  }

  /** The last open socket before `socket` that has the symbol's book; -1: there is none. */
  predecessor(symbol: string, socket: number, isOpen: (socket: number) => boolean): number {
    const found = this.#sessions.findLast((one) =>
      one.socket < socket && one.brought.has(symbol) && isOpen(one.socket)
    )
    return found?.socket ?? -1
  }

  #output(heard: Heard, output: SessionOutput): SessionOutput {
    const speak = (what: () => void): void => {
      const before = this.speaking
      this.speaking = heard.socket
      what()
      this.speaking = before
    }
    return {
      send: (text) => output.send(text),
      snapshot: (index, changes: LevelChanges) => {
        heard.brought.add(heard.symbols[index]!)
        speak(() => output.snapshot(index, changes))
      },
      delta: (index, changes) => speak(() => output.delta(index, changes)),
      refreshed: (index, changes) => {
        this.#tally.count('book refreshed')
        speak(() => output.refreshed(index, changes))
      },
      suspect: (index, reason, detail) => {
        heard.brought.delete(heard.symbols[index]!)
        output.suspect(index, reason, detail)
      },
      requestSnapshot: (index, url, weight, delayMs) =>
        output.requestSnapshot(index, url, weight, delayMs),
      retire: (detail) => output.retire(detail),
      fail: (error) => output.fail(error),
    }
  }
}
