/** What one socket's session says, on its way to the group; once cut, nothing comes through. */
import type { LevelChanges } from '../core/changes.ts'
import type { ObfeedError } from '../core/errors.ts'
import type { InvalidReason } from '../core/event.ts'
import { foreignText } from '../core/foreign-text.ts'
import type { Session, SessionOutput } from '../exchanges/adapter.ts'
import type { Connection } from './connection.ts'
import type { Handover } from './handover.ts'
import type { SnapshotReceiver } from './snapshots.ts'

/** The group as its sockets see it. */
export interface OutputReceiver {
  /** How old the REST answer may be from which the session speaks; 0: it speaks from a frame. */
  answerAgeMs: number
  snapshot(index: number, changes: LevelChanges): void
  delta(index: number, changes: LevelChanges): void
  refreshed(index: number, changes: LevelChanges): void
  suspect(index: number, reason: InvalidReason, detail: string): void
  requestSnapshot(
    receiver: GroupOutput,
    index: number,
    url: string,
    weight: number,
    delayMs: number,
  ): void
  /** The exchange will not serve this symbol. */
  reject(index: number, message: string, retryAfterMs: number): void
  retire(detail: string): void
  fail(error: ObfeedError): void
}

/**
 * One per socket. While a handover runs, a symbol counts on one of two sockets: `carries` of the
 * handover says on which.
 */
export class GroupOutput implements SessionOutput, SnapshotReceiver {
  session: Session | undefined
  /** This socket is being replaced: what the next one carries is not heard from here any more. */
  leaving: Handover | undefined
  /** This socket is the next one: what it does not carry yet is only rehearsed. */
  joining: Handover | undefined
  readonly #connection: Connection
  #receiver: OutputReceiver | undefined

  constructor(receiver: OutputReceiver, connection: Connection) {
    this.#receiver = receiver
    this.#connection = connection
  }

  cut(): void {
    this.#receiver = undefined
    this.joining = undefined
  }

  send(text: string): void {
    if (this.#receiver !== undefined) this.#connection.send(text)
  }

  snapshot(index: number, changes: LevelChanges): void {
    if (this.#isHeard(index)) this.#receiver?.snapshot(index, changes)
    else this.joining?.snapshot(index, changes)
  }

  delta(index: number, changes: LevelChanges): void {
    if (this.#isHeard(index)) this.#receiver?.delta(index, changes)
    else this.joining?.delta(index, changes)
  }

  refreshed(index: number, changes: LevelChanges): void {
    if (this.#isHeard(index)) this.#receiver?.refreshed(index, changes)
  }

  suspect(index: number, reason: InvalidReason, detail: string): void {
    if (this.#isHeard(index)) this.#receiver?.suspect(index, reason, detail)
    else this.joining?.suspect(index)
  }

  requestSnapshot(index: number, url: string, weight: number, delayMs = 0): void {
    // The next socket goes on from where the old one stands: it needs none.
    if (this.#isHeard(index)) this.#receiver?.requestSnapshot(this, index, url, weight, delayMs)
  }

  retire(detail: string): void {
    if (this.joining !== undefined) this.joining.retiring(detail)
    else this.#receiver?.retire(detail)
  }

  fail(error: ObfeedError): void {
    if (this.joining?.isItsOwn(error) === true) this.joining.fail(error)
    else this.#receiver?.fail(error)
  }

  snapshotReceived(index: number, body: string, receivedUs: number, tookMs: number): void {
    const receiver = this.#receiver
    if (receiver === undefined) return
    receiver.answerAgeMs = tookMs
    this.session?.snapshotReceived?.(index, body, receivedUs)
    receiver.answerAgeMs = 0
  }

  snapshotRefused(index: number, status: number, body: string): void {
    const message = `status ${status}: ${foreignText(body, 200)}`
    if (this.#isHeard(index)) this.#receiver?.reject(index, message, 0)
  }

  #isHeard(index: number): boolean {
    if (this.joining !== undefined) return this.joining.carries[index] === 1
    return this.leaving === undefined || this.leaving.carries[index] === 0
  }
}
