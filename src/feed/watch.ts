/** When to ask for a symbol's book again: backoff, deadlines, rhythm. Decides, does nothing. */

/** A snapshot that was asked for must arrive within this time. */
export const SNAPSHOT_WITHIN_MS = 10_000
/** So many snapshots in a row did not come: the socket is to blame. */
export const MISSES_PER_SOCKET = 3
const BACKOFF_CAP_MS = 30_000
/** Live for this long: the next loss starts over with no delay. */
const SETTLED_MS = 20_000
/** A rejected symbol is asked for again this late, then twice as late, and so on. */
const REJECTED_MS = 60_000
const REJECTED_CAP_MS = 3 * 60_000
/** Books from before what was published, and no others, for this long: the exchange counts anew. */
const BEHIND_MS = 60_000
/**
 * Silence below this is never suspicious. With the time for the check it is less than the 15 s
 * after which a book that moves must not be called live any more.
 */
const STALE_MIN_MS = 10_000
/** Silence of so many mean gaps is suspicious. */
const STALE_GAPS = 5
/** So few messages show no rhythm yet; then this long a silence is suspicious. */
const RHYTHM_MESSAGES = 20
const STALE_UNKNOWN_MS = 60_000
const STALE_CAP_MS = 60 * 60_000
/**
 * A silence that proved right is remembered for so long by a symbol that is lively otherwise: one that
 * pauses now and then costs its exchange one answer an hour, and one that does not is never given more
 * than the least silence.
 */
const REMEMBERED_MS = 60 * 60_000
/**
 * So long before a silence is suspicious, or when so much of it has passed, its book may be asked for
 * beside another one.
 */
const NEARLY_MS = 2000
const NEARLY = 0.6
/** A book that is asked for because of its silence counts as lost when it has not come by then. */
const CHECK_WITHIN_MS = 4000
/** Weight of one message in the running mean of the gaps. */
const GAP_WEIGHT = 1 / 32
const GAP_WEIGHT_MAX = 0.5

export type Due = 'nothing' | 'resync' | 'overdue' | 'stale'

/** One symbol's timetable on the monotonic clock. */
export class SymbolWatch {
  /** When to ask for a fresh snapshot; Infinity = nothing planned. */
  resyncAtMs = Infinity
  /** Snapshots in a row that did not come in time. */
  misses = 0
  /** The socket was opened again for this symbol's sake and that did not help. */
  hopeless = false
  /** The book is asked for because of its silence, and counts on meanwhile. */
  isChecking = false
  /** The next resync is one that the exchange put off: nothing was lost. */
  isDeferred = false
  /** The silence that is being checked; 0 = none. */
  #silentMs = 0
  #deadlineMs = Infinity
  /** When the first of the books came that were behind; Infinity: the last one was not. */
  #behindSinceMs = Infinity
  #attempts = 0
  #rejections = 0
  #deferrals = 0
  #liveSinceMs = Infinity
  #messages = 0
  #messagesAtStart = 0
  #lastMessageMs = 0
  #meanGapMs = 0
  /** The silence that it is given because shorter ones proved right. */
  #quietMs = 0
  /** When the last one did. */
  #quietAtMs = -Infinity

  /** A snapshot was asked for. */
  expect(nowMs: number): void {
    this.resyncAtMs = Infinity
    this.isDeferred = false
    this.#deadlineMs = nowMs + SNAPSHOT_WITHIN_MS
  }

  /** Nothing is expected: no socket. */
  idle(): void {
    this.resyncAtMs = Infinity
    this.#deadlineMs = Infinity
    this.#liveSinceMs = Infinity
    this.#endCheck()
    this.misses = 0
  }

  /** The book is lost: plans a resync with backoff, keeps an earlier plan. */
  lost(nowMs: number, random: number): void {
    if (nowMs - this.#liveSinceMs >= SETTLED_MS) this.#attempts = 0
    this.#liveSinceMs = Infinity
    this.#deadlineMs = Infinity
    this.#endCheck()
    if (this.resyncAtMs !== Infinity) return
    this.resyncAtMs = nowMs + backoff(this.#attempts, random)
    this.#attempts++
  }

  /**
   * A book came that is from before what was published. True: it is not to be used. False: nothing
   * else has come for so long that it must be believed.
   */
  behind(nowMs: number): boolean {
    this.#behindSinceMs = Math.min(this.#behindSinceMs, nowMs)
    return nowMs - this.#behindSinceMs < BEHIND_MS
  }

  /** Something shows that the answer is still on its way. */
  postpone(nowMs: number): void {
    if (this.#deadlineMs !== Infinity) this.#deadlineMs = nowMs + SNAPSHOT_WITHIN_MS
  }

  /** The exchange was asked too often: ask again after what it wants, then twice as late, and so on. */
  defer(nowMs: number, retryAfterMs: number): void {
    const waitMs = Math.min(REJECTED_CAP_MS, retryAfterMs * 2 ** Math.min(this.#deferrals, 10))
    this.#deferrals++
    this.isDeferred = true
    this.misses = 0
    this.#endCheck()
    this.#deadlineMs = Infinity
    this.#liveSinceMs = Infinity
    this.resyncAtMs = nowMs + waitMs
  }

  /** The exchange does not serve the symbol: ask again late. */
  reject(nowMs: number, retryAfterMs: number): void {
    this.misses = 0
    const ownMs = Math.min(REJECTED_CAP_MS, REJECTED_MS * 2 ** Math.min(this.#rejections, 10))
    this.#rejections++
    this.#endCheck()
    this.#deadlineMs = Infinity
    this.#liveSinceMs = Infinity
    this.resyncAtMs = nowMs + Math.max(ownMs, retryAfterMs)
  }

  /**
   * The fresh snapshot is in. `unchanged`: it equals the book that was asked for because of its
   * silence, which so proved right; the next silence must be twice as long.
   */
  live(nowMs: number, messages: number, unchanged: boolean): void {
    if (this.#silentMs > 0) {
      this.#quietMs = unchanged ? Math.min(STALE_CAP_MS, this.#longer(2 * this.#silentMs)) : 0
      this.#quietAtMs = nowMs
    }
    this.#endCheck()
    this.#behindSinceMs = Infinity
    this.resyncAtMs = Infinity
    this.#deadlineMs = Infinity
    this.#liveSinceMs = nowMs
    this.misses = 0
    this.hopeless = false
    this.#rejections = 0
    this.#deferrals = 0
    // A snapshot is not part of the rhythm.
    this.#messages = messages
    this.#lastMessageMs = nowMs
  }

  /** Time in which nobody listened does not count as silence. */
  listened(nowMs: number): void {
    this.#lastMessageMs = nowMs
    this.postpone(nowMs)
  }

  /** What is to be done now; `messages` counts all exchange messages for the symbol. */
  due(nowMs: number, messages: number): Due {
    if (nowMs >= this.resyncAtMs) return 'resync'
    if (nowMs >= this.#deadlineMs) return 'overdue'
    if (this.#liveSinceMs === Infinity) return 'nothing'
    const fresh = messages - this.#messages
    if (fresh > 0 && !this.isChecking) {
      const gapMs = (nowMs - this.#lastMessageMs) / fresh
      const weight = Math.min(GAP_WEIGHT_MAX, fresh * GAP_WEIGHT)
      this.#meanGapMs = this.#messagesAtStart === 0
        ? gapMs
        : this.#meanGapMs + (gapMs - this.#meanGapMs) * weight
      this.#messagesAtStart += fresh
      this.#messages = messages
      this.#lastMessageMs = nowMs
      return 'nothing'
    }
    if (this.isChecking) return 'nothing'
    return nowMs - this.#lastMessageMs > this.#staleAfterMs(nowMs) ? 'stale' : 'nothing'
  }

  /** Its rhythm is known, and such that the least silence is suspicious. */
  get isLively(): boolean {
    return this.#messagesAtStart >= RHYTHM_MESSAGES && STALE_GAPS * this.#meanGapMs <= STALE_MIN_MS
  }

  /** It is about to be suspicious, or would be before long: it may as well be asked for now. */
  isNearlyStale(nowMs: number, messages: number): boolean {
    if (this.isChecking || this.#liveSinceMs === Infinity || messages !== this.#messages) {
      return false
    }
    const afterMs = this.#staleAfterMs(nowMs)
    const early = Math.max(STALE_MIN_MS, NEARLY * afterMs)
    return nowMs - this.#lastMessageMs > Math.min(afterMs - NEARLY_MS, early)
  }

  /** The silence from which on it is suspicious. */
  #staleAfterMs(nowMs: number): number {
    if (this.isLively && nowMs - this.#quietAtMs >= REMEMBERED_MS) return STALE_MIN_MS
    const rhythmMs = this.#messagesAtStart < RHYTHM_MESSAGES
      ? STALE_UNKNOWN_MS
      : Math.max(STALE_MIN_MS, STALE_GAPS * this.#meanGapMs)
    return Math.min(STALE_CAP_MS, Math.max(rhythmMs, this.#quietMs))
  }

  /** A lively symbol that is silent again for once has been given longer before. */
  #longer(silentMs: number): number {
    return this.isLively ? Math.max(silentMs, this.#quietMs) : silentMs
  }

  /** Nothing has come of it for so long that only a socket known to be alive speaks for it. */
  isSilent(nowMs: number, messages: number): boolean {
    return messages === this.#messages && nowMs - this.#lastMessageMs >= STALE_MIN_MS
  }

  /** Silent beyond the time for a check, whose request is still on its way out. */
  checkLate(nowMs: number): void {
    this.#endCheck()
    this.#liveSinceMs = Infinity
    this.#deadlineMs = nowMs + SNAPSHOT_WITHIN_MS
  }

  /** The book is asked for because of its silence. */
  check(nowMs: number): void {
    this.isChecking = true
    this.#silentMs = nowMs - this.#lastMessageMs
    this.#deadlineMs = nowMs + CHECK_WITHIN_MS
  }

  #endCheck(): void {
    this.isChecking = false
    this.#silentMs = 0
  }
}

/** 0, then 1, 2, 4 .. 30 s with jitter downwards. */
function backoff(attempts: number, random: number): number {
  if (attempts === 0) return 0
  const most = Math.min(BACKOFF_CAP_MS, 1000 * 2 ** Math.min(attempts - 1, 10))
  return most * (0.5 + 0.5 * random)
}
