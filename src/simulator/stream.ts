/** The kinds of book streams of an exchange. */

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
