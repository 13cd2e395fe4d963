/**
 * Brings time, events and answers to a runner in their one order: at the same instant the book's
 * event first, then orders at the exchange, then answers, then timers; then by creation. Signals see
 * every event, decisions are conflated: `decide` is called after a batch, or after every event.
 */
import type { PaperExchange } from '../orders/paper.ts'
import { RANK, type Schedule } from '../orders/schedule.ts'
import type { LiveBook } from './live-book.ts'
import type { Runner, Timers } from './runner.ts'

/** Without any event for so long nobody stands behind a book. */
export const STALE_US = 15_000_000

/** What one record did to its book. */
export type Applied =
  /** The book was loaded and does not connect to what was. */
  | 'restart'
  | 'change'
  /** A heartbeat, or a checkpoint that repeats the book: it lives. */
  | 'alive'
  /** It is not proven any more; `reason` says why. */
  | 'invalid'
  /** Nothing that counts. */
  | 'nothing'

/** One record to come. Reused: valid during `take`. */
export interface BookEvent {
  readonly book: LiveBook
  /** When it is known here, on the strategy's clock. */
  readonly atUs: number
  /** Called once, when all that was due before has run. Sets what the book says of itself. */
  apply(): Applied
  /** After `invalid`: a wire reason, `gap`. */
  readonly reason: string
}

/** Named timers on a schedule, at rest until `begin`. */
export class ScheduledTimers implements Timers {
  readonly #schedule: Schedule
  readonly #named: Map<string, object> = new Map()
  #waiting: (() => void)[] | undefined = []
  /** Set by the drive. */
  fired: (name: string) => void = () => {}

  constructor(schedule: Schedule) {
    this.#schedule = schedule
  }

  set(name: string, delayUs: number, everyUs: number): void {
    const token = {}
    this.#named.set(name, token)
    const begin = () => this.#arm(name, token, this.#schedule.nowUs + delayUs, everyUs)
    if (this.#waiting === undefined) begin()
    else this.#waiting.push(begin)
  }

  cancel(name: string): void {
    this.#named.delete(name)
  }

  /** Timers of `setup` count from here. */
  begin(): void {
    const waiting = this.#waiting ?? []
    this.#waiting = undefined
    for (const begin of waiting) begin()
  }

  #arm(name: string, token: object, dueUs: number, everyUs: number): void {
    if (this.#named.get(name) !== token) return
    this.#schedule.at(dueUs, RANK.timer, {
      run: () => {
        if (this.#named.get(name) !== token) return
        if (everyUs > 0) this.#arm(name, token, dueUs + everyUs, everyUs)
        else this.#named.delete(name)
        this.fired(name)
      },
    })
  }
}

/** What the drive remembers of a book. */
interface Seat {
  readonly live: LiveBook
  readonly ageLimitUs: number
  heardUs: number
  /** Events since its last decision. */
  events: number
  /** Waits for a decision. */
  changed: boolean
  /** A look at its age is due. */
  watched: boolean
  /** The strategy was told that it is not to be had. */
  told: boolean
}

export class Drive {
  /** Events with a book, for rates. */
  events = 0
  readonly #runner: Runner
  readonly #schedule: Schedule
  readonly #timers: ScheduledTimers
  readonly #paper: PaperExchange | undefined
  readonly #everyEvent: boolean
  readonly #seats: Map<LiveBook, Seat> = new Map()
  /** In the order of their first change. */
  readonly #changed: Seat[] = []
  #begun = false

  /** `everyEvent`: a decision after each event, without `decide`. */
  constructor(
    runner: Runner,
    schedule: Schedule,
    timers: ScheduledTimers,
    { paper, everyEvent }: {
      readonly paper: PaperExchange | undefined
      readonly everyEvent: boolean
    },
  ) {
    this.#runner = runner
    this.#schedule = schedule
    this.#timers = timers
    this.#paper = paper
    this.#everyEvent = everyEvent
    for (const { live, ageLimitUs } of runner.trading.desks.values()) {
      this.#seats.set(live, {
        live,
        ageLimitUs,
        heardUs: 0,
        events: 0,
        changed: false,
        watched: false,
        told: false,
      })
    }
    timers.fired = (name) => {
      // What changed before is decided on before.
      this.decide()
      runner.timer(name, schedule.nowUs)
    }
  }

  /** The next due action; Infinity: none. For who sleeps until then. */
  get nextUs(): number {
    return this.#schedule.nextUs
  }

  /** What was read so far was history: from here on handlers run. */
  begin(nowUs: number): void {
    this.#schedule.runBefore(nowUs)
    this.#begun = true
    this.#runner.start(this.#schedule.nowUs)
    this.#timers.begin()
    for (const seat of this.#seats.values()) {
      seat.events = Math.min(seat.events, 1)
      if (!seat.live.valid) this.#tellInvalid(seat, 'gap')
    }
    if (this.#everyEvent) this.decide()
  }

  /** Applies one event at its time. */
  take(event: BookEvent): void {
    this.#schedule.runBefore(event.atUs)
    const { nowUs } = this.#schedule
    this.#runner.nowUs = nowUs
    const live = event.book
    const seat = this.#seats.get(live)!
    const applied = event.apply()
    if (applied === 'nothing') return
    this.events++
    seat.heardUs = nowUs
    if (applied === 'invalid') {
      this.#invalid(seat, event.reason)
      return
    }
    const revived = !live.valid
    live.valid = true
    seat.told = false
    if (!seat.watched) this.#watch(seat)
    if (applied === 'alive') {
      if (!revived) return
      // The same book, to be had again: what was due at the exchange meanwhile was rejected.
      this.#paper?.applied(live.ref, true)
    } else {
      const restart = applied === 'restart'
      live.changed()
      this.#paper?.applied(live.ref, restart)
      this.#runner.feed(live, restart)
      seat.events++
    }
    if (!seat.changed) {
      seat.changed = true
      this.#changed.push(seat)
    }
    if (this.#everyEvent) this.decide()
  }

  /** Time passes without an event. */
  advance(nowUs: number): void {
    this.#schedule.runUpTo(nowUs)
  }

  /** One decision for each changed book. */
  decide(): void {
    if (!this.#begun || this.#changed.length === 0) return
    const { nowUs } = this.#schedule
    for (const seat of this.#changed.splice(0)) {
      seat.changed = false
      const { live } = seat
      if (!live.valid) continue
      const skipped = Math.max(0, seat.events - 1)
      seat.events = 0
      if (live.ageUs > seat.ageLimitUs) this.#tellInvalid(seat, 'stale')
      else {
        seat.told = false
        this.#runner.book(live, skipped, nowUs)
      }
    }
  }

  /** Nothing comes any more; what is due is not waited for. */
  stop(nowUs: number): void {
    this.advance(nowUs)
    this.decide()
    this.#runner.stop(this.#schedule.nowUs)
  }

  #invalid(seat: Seat, reason: string): void {
    const { live } = seat
    seat.events = 0
    if (live.valid) {
      live.valid = false
      live.changed()
      this.#paper?.invalid(live.ref)
    }
    this.#tellInvalid(seat, reason)
  }

  /** Once for each time that it is lost. */
  #tellInvalid(seat: Seat, reason: string): void {
    if (seat.told || !this.#begun) return
    seat.told = true
    this.#runner.invalid(seat.live.ref, reason, this.#schedule.nowUs)
  }

  /** Looks whether the book was heard of, when it may have become stale. */
  #watch(seat: Seat): void {
    seat.watched = true
    this.#schedule.at(seat.heardUs + STALE_US, RANK.timer, {
      run: () => {
        seat.watched = false
        if (!seat.live.valid) return
        if (seat.heardUs + STALE_US > this.#schedule.nowUs) this.#watch(seat)
        else this.#invalid(seat, 'stale')
      },
    })
  }
}
