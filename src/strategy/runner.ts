/**
 * Calls the handlers of one strategy and carries out what they ask for. It knows no time, reader or
 * mode: inputs come by its methods (from `Drive`, or from a journal), answers from the broker, and
 * the same inputs give the same outputs, byte for byte.
 */
import type { Broker, BrokerEvent, BrokerEvents, ListedOrder } from '../orders/broker.ts'
import type { Limits } from '../orders/limits.ts'
import { OrderIds, runTag, strategyTag } from '../orders/order-id.ts'
import type { TrackedOrder } from '../orders/order.ts'
import { contextOf } from './context.ts'
import type { BookRef, Handlers, Json, Market, Order, SignalRun, Strategy } from './contract.ts'
import { enterHandler, installGuard, leaveHandler } from './guard.ts'
import type { LiveBook } from './live-book.ts'
import { Outputs } from './outputs.ts'
import { SeededRandom } from './random.ts'
import type { Recorder } from './recorder.ts'
import { SavedState } from './state.ts'
import { Trading } from './trading.ts'
import { failure, misshapen } from './user-error.ts'

/** Timers of a strategy, by name. */
export interface Timers {
  /** `everyUs` 0: once. One of the same name is replaced. */
  set(name: string, delayUs: number, everyUs: number): void
  cancel(name: string): void
}

export interface RunnerOptions<P extends object> {
  readonly strategy: Strategy<P>
  readonly params: P
  /** All that the strategy named. */
  readonly books: readonly LiveBook[]
  readonly markets: ReadonlyMap<BookRef, Market>
  /** Undefined: only what needs no limits is checked. */
  readonly limits?: Limits | undefined
  /** Told what comes of its orders. */
  readonly broker: (events: BrokerEvents) => Broker
  readonly timers: Timers
  readonly seed: string
  /** Names the run in its order ids, microseconds since 1970. */
  readonly startUs: number
  readonly recorder?: Recorder
  readonly state?: Readonly<Record<string, Json>> | undefined
  /** Of the user's file: errors are told with the place in it. */
  readonly folder?: string | undefined
  /** Answers `listOpen`, for who reconciles. */
  readonly listed?: (ref: BookRef, orders: readonly ListedOrder[]) => void
}

const HANDLERS = ['onBook', 'onInvalid', 'onTimer', 'onOrder', 'onFill', 'onStop']

export class Runner<P extends object = object> {
  readonly broker: Broker
  readonly trading: Trading
  readonly state: SavedState
  /** The instant of the input that is handled. */
  nowUs = 0
  readonly #options: RunnerOptions<P>
  readonly #recorder: Recorder
  readonly #outputs = new Outputs()
  readonly #random: SeededRandom
  /** Fed with every event of their book. */
  readonly #signals: Map<BookRef, SignalRun<unknown>[]> = new Map()
  #handlers: Handlers = {}
  #settingUp = false
  #failed = false

  /** @throws {ObfeedError} exit 78: a market that cannot be traded on exactly */
  constructor(options: RunnerOptions<P>) {
    installGuard()
    this.#options = options
    this.#recorder = options.recorder ?? {}
    this.#random = new SeededRandom(options.seed)
    this.state = new SavedState(
      options.state,
      (key, value) => this.#outputs.add({ type: 'state', key, value }),
    )
    const ids = new OrderIds(runTag(options.startUs), strategyTag(options.strategy.name))
    this.trading = new Trading(options.books, options.markets, options.limits, ids)
    this.broker = options.broker({
      answered: (event) => this.answered(event),
      listed: (ref, orders) => options.listed?.(ref, orders),
    })
    for (const live of options.books) {
      live.clock = this
      this.#signals.set(live.ref, [])
    }
  }

  get name(): string {
    return this.#options.strategy.name
  }

  /** Runs `setup`. Signals can be fed from here on, before handlers run. */
  setup(nowUs: number): void {
    this.nowUs = nowUs
    const { strategy, params } = this.#options
    const context = contextOf(this, {
      timers: this.#options.timers,
      random: this.#random,
      outputs: this.#outputs,
      use: (ref, signal) => {
        if (!this.#settingUp) {
          throw new Error('ctx.use() was called in a handler, expected it in setup')
        }
        this.trading.desk(ref)
        const run = signal.run()
        this.#signals.get(ref)!.push(run)
        return run.value
      },
    })
    this.#settingUp = true
    let handlers: unknown
    enterHandler()
    try {
      handlers = strategy.setup(context, params)
    } catch (error) {
      leaveHandler()
      throw this.#fail('setup', error)
    } finally {
      this.#settingUp = false
    }
    const hidden = leaveHandler()
    if (hidden !== undefined) throw this.#fail('setup', hidden)
    this.#handlers = checkedHandlers(handlers, this.#options.folder ?? strategy.name)
    this.#carryOut()
  }

  /** One event was applied to a book; `restart`: it does not connect to those before. */
  feed(live: LiveBook, restart: boolean): void {
    const runs = this.#signals.get(live.ref)!
    if (runs.length === 0) return
    enterHandler()
    try {
      for (const run of runs) {
        if (restart) run.restart(live)
        else run.update(live)
      }
    } catch (error) {
      leaveHandler()
      throw this.#fail('a signal', error)
    }
    const hidden = leaveHandler()
    if (hidden !== undefined) throw this.#fail('a signal', hidden)
  }

  start(nowUs: number): void {
    this.nowUs = nowUs
    this.#recorder.started?.(nowUs)
  }

  /** A decision on a proven book. */
  book(live: LiveBook, skipped: number, nowUs: number): void {
    this.nowUs = nowUs
    this.#recorder.book?.(live, skipped, nowUs)
    if (this.trading.mark(nowUs, false)) this.#halted()
    const handlers = this.#handlers
    if (handlers.onBook === undefined) return
    enterHandler()
    let returned: unknown
    try {
      returned = handlers.onBook(live, skipped)
    } catch (error) {
      leaveHandler()
      throw this.#fail('onBook', error)
    }
    this.#finish('onBook', returned)
  }

  invalid(ref: BookRef, reason: string, nowUs: number): void {
    this.nowUs = nowUs
    this.#recorder.invalid?.(ref, reason, nowUs)
    const { onInvalid } = this.#handlers
    if (onInvalid === undefined) return
    this.#call('onInvalid', () => this.#handlers.onInvalid!(ref, reason))
  }

  timer(name: string, nowUs: number): void {
    this.nowUs = nowUs
    this.#recorder.timer?.(name, nowUs)
    if (this.#handlers.onTimer === undefined) return
    this.#call('onTimer', () => this.#handlers.onTimer!(name))
  }

  /** What became of an order. What is not of this run is left out. */
  answered(event: BrokerEvent): void {
    const { table, risk } = this.trading
    const nowUs = event.atUs > this.nowUs ? event.atUs : this.nowUs
    this.nowUs = nowUs
    const order = table.get(event.id)
    if (order === undefined) return
    this.#recorder.answer?.(event, nowUs)
    if (!order.apply(event)) return
    table.settle(order)
    const fill = event.type === 'fill' ? this.trading.fill(order, event) : undefined
    if (this.broker.showsInBook) this.trading.showOwn(order.intent.book)
    const version = order.version(this.broker.ahead(order.intent.id))
    if (fill !== undefined) this.#recorder.fill?.(fill, nowUs)
    this.#recorder.order?.(version, nowUs)
    const halts = [
      risk.answered(event.type),
      event.type === 'unknown' && risk.unknown(table.unknownCount),
      fill !== undefined && this.trading.mark(nowUs),
    ]
    if (fill !== undefined && this.#handlers.onFill !== undefined) {
      this.#call('onFill', () => this.#handlers.onFill!(fill))
    }
    this.#tell(version)
    if (halts.includes(true)) this.#halted()
  }

  /** The last input. Cancelling is up to the strategy, and to who ends the run. */
  stop(nowUs: number): void {
    this.nowUs = nowUs
    this.#recorder.stopped?.(nowUs)
    if (this.#handlers.onStop === undefined || this.#failed) return
    this.#call('onStop', () => this.#handlers.onStop!())
  }

  /** No new order passes from here on, and what is open is cancelled. */
  halt(why: string): void {
    if (this.trading.risk.halt(why)) this.#halted()
  }

  /** Asks the broker to cancel what is open: an output like a handler's own. */
  cancelOpen(ref?: BookRef): void {
    for (const order of [...this.trading.table.open(ref)]) this.cancelOrder(order)
    this.#carryOut()
  }

  /** Of the context: asked for in a handler, carried out after it. */
  cancelOrder(order: TrackedOrder): void {
    const before = order.n
    if (!order.cancel()) return
    this.#outputs.add({ type: 'cancel', id: order.intent.id })
    if (order.n === before) return
    const version = order.version(this.broker.ahead(order.intent.id))
    this.#outputs.add({ type: 'version', order: version, tell: true })
  }

  #halted(): void {
    this.#recorder.halted?.(this.trading.risk.why, this.nowUs)
    this.cancelOpen()
  }

  #tell(version: Order): void {
    if (this.#handlers.onOrder === undefined) return
    this.#call('onOrder', () => this.#handlers.onOrder!(version))
  }

  #call(what: string, handler: () => unknown): void {
    enterHandler()
    let returned: unknown
    try {
      returned = handler()
    } catch (error) {
      leaveHandler()
      throw this.#fail(what, error)
    }
    this.#finish(what, returned)
  }

  #finish(what: string, returned: unknown): void {
    const hidden = leaveHandler()
    if (hidden !== undefined) throw this.#fail(what, hidden)
    if (returned !== undefined && isPromise(returned)) {
      // Whatever comes of it, it comes too late to be heard.
      returned.then(undefined, () => {})
      throw this.#fail(
        what,
        new TypeError('it returned a promise, expected a handler that is not async'),
      )
    }
    if (!this.#outputs.isEmpty) this.#carryOut()
  }

  /** The order of the outputs is the order in which the handler asked. */
  #carryOut(): void {
    const { nowUs } = this
    const recorder = this.#recorder
    const told: Order[] = []
    for (const output of this.#outputs.take()) {
      switch (output.type) {
        case 'intent':
          recorder.intent?.(output.intent, nowUs)
          this.broker.submit(output.intent)
          break
        case 'cancel':
          recorder.cancel?.(output.id, nowUs)
          this.broker.cancel(output.id)
          break
        case 'version':
          recorder.order?.(output.order, nowUs)
          if (output.tell) told.push(output.order)
          break
        case 'signal':
          recorder.signal?.(output.name, output.value, output.book, nowUs)
          break
        case 'state':
          recorder.state?.(output.key, output.value, nowUs)
          break
        case 'log':
          recorder.log?.(output.text, output.fields, nowUs)
      }
    }
    for (const version of told) this.#tell(version)
  }

  /** What the handler asked for is dropped, what is open is cancelled; nothing is called any more. */
  #fail(what: string, error: unknown): Error {
    for (const order of this.#outputs.drop()) this.trading.table.drop(order)
    const failed = failure(what, error, this.#options.folder)
    if (!this.#failed) {
      this.#failed = true
      this.#handlers = {}
      this.cancelOpen()
    }
    return failed
  }
}

function isPromise(value: unknown): value is PromiseLike<unknown> {
  return typeof value === 'object' && value !== null && 'then' in value &&
    typeof value.then === 'function'
}

function checkedHandlers(handlers: unknown, path: string): Handlers {
  if (typeof handlers !== 'object' || handlers === null || isPromise(handlers)) {
    const found = isPromise(handlers) ? 'a promise' : handlers === null ? 'null' : typeof handlers
    throw misshapen(path, `setup returned ${found}, expected an object of handlers`)
  }
  for (const [name, value] of Object.entries(handlers)) {
    if (!HANDLERS.includes(name)) {
      throw misshapen(path, `setup returned "${name}", expected only ${HANDLERS.join(', ')}`)
    }
    if (value !== undefined && typeof value !== 'function') {
      throw misshapen(path, `${name} was ${typeof value}, expected a function`)
    }
  }
  return handlers as Handlers
}
