/** One channel of one product: what all its listeners were told last. */
import type { Subscription } from './connection.ts'
import type { Market } from './market.ts'
import { TopView } from './top-view.ts'

/** A kind of book stream; connections that ask for an equal `key` share frames. */
export interface Channel {
  readonly key: string
  /** Levels a side; Infinity is the whole book. */
  readonly depth: number
  /** Levels pushed out of the window are deleted. Else the client truncates. */
  readonly deletesPushed?: boolean
  /** Each frame has the whole window, as a snapshot. */
  readonly whole?: boolean
  /** No snapshot comes through this channel: updates flow from the subscription on. */
  readonly snapshotElsewhere?: boolean
}

export class Stream {
  readonly product: number
  readonly market: Market
  readonly channel: Channel
  /** Undefined for the whole book. */
  readonly view: TopView | undefined
  /** Those whose updates flow. Replaced, never changed in place by a removal. */
  listeners: Subscription[] = []
  /** The version that the last frame led to; in the window nothing has changed since. */
  sentVersion: number
  /** Update frames made so far: what an exchange that counts by topic numbers them with. */
  frames = 0
  /** Infinity while nothing waits to be sent. */
  dueMs = Infinity

  constructor(product: number, market: Market, channel: Channel) {
    this.product = product
    this.market = market
    this.channel = channel
    this.view = Number.isFinite(channel.depth)
      ? new TopView(channel.depth, channel.deletesPushed ?? false)
      : undefined
    this.sentVersion = market.version
    this.view?.reset(market)
  }

  /** Nobody listened: it goes on from the present, under a number of its own. */
  begin(): void {
    if (this.sentVersion === this.market.version) return
    this.sentVersion = this.market.version
    this.frames++
    this.view?.reset(this.market)
  }
}
