/** The only door of a strategy to time, randomness, orders and state. */
import type { BookRef, Context, OrderRequest, Signal } from './contract.ts'
import type { Outputs } from './outputs.ts'
import type { SeededRandom } from './random.ts'
import type { Runner, Timers } from './runner.ts'

const US_PER_MS = 1000

export interface Doors {
  readonly timers: Timers
  readonly random: SeededRandom
  readonly outputs: Outputs
  readonly use: <S>(ref: BookRef, signal: Signal<S>) => S
}

/** Its functions need no `this`: a strategy may take them apart. */
export function contextOf<P extends object>(runner: Runner<P>, doors: Doors): Context {
  const { timers, outputs } = doors
  const { trading, broker } = runner
  const { table } = trading
  const us = (ms: number): number => {
    if (ms > 0 && ms <= 86_400_000_000) return Math.round(ms * US_PER_MS)
    throw new RangeError(`a timer was given ${ms} ms, expected more than 0`)
  }
  const open = function* (ref?: BookRef) {
    if (ref !== undefined) trading.desk(ref)
    yield* table.open(ref)
  }
  return {
    clock: {
      nowUs: () => runner.nowUs,
      every: (ms, name) => timers.set(name, us(ms), us(ms)),
      after: (ms, name) => timers.set(name, us(ms), 0),
      cancel: (name) => timers.cancel(name),
    },
    books: {
      get: (ref) => {
        const { live, ageLimitUs } = trading.desk(ref)
        return live.valid && live.ageUs <= ageLimitUs ? live : undefined
      },
    },
    orders: {
      submit: (request: OrderRequest) => {
        const order = trading.order(request, runner.nowUs)
        table.add(order)
        outputs.made(order)
        const version = order.version(undefined)
        outputs.add({ type: 'version', order: version, tell: false })
        if (order.isOpen) outputs.add({ type: 'intent', intent: order.intent })
        return version
      },
      cancel: (id) => {
        const order = table.get(id)
        if (order !== undefined) runner.cancelOrder(order)
      },
      cancelAll: (ref) => {
        for (const order of [...open(ref)]) runner.cancelOrder(order)
      },
      open: (ref) => [...open(ref)].map((order) => order.version(broker.ahead(order.intent.id))),
    },
    position: (ref) => trading.desk(ref).position.text,
    market: (ref) => trading.desk(ref).grid.market,
    use: doors.use,
    signal: (name, value, ref) => {
      const book = ref === undefined ? undefined : trading.desk(ref).live
      outputs.add({ type: 'signal', name, value, book })
    },
    random: () => doors.random.next(),
    state: runner.state,
    log: (text, fields) => outputs.add({ type: 'log', text, fields }),
  }
}
