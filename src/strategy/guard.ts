/**
 * Hidden inputs of a strategy: clocks, randomness, timers and the network make two runs of the same
 * events differ. While a handler runs they throw and name what to use instead. The globals are
 * patched once and switched by a flag: some nanoseconds a call.
 */
import process from 'node:process'
import { EXIT, ObfeedError } from '../core/errors.ts'

let inside = false
/** The first one of the handler that runs, also when the handler caught it. */
let violation: ObfeedError | undefined

/** A handler begins. */
export function enterHandler(): void {
  inside = true
  violation = undefined
}

/** It ended. Returns what it used that it must not; also when it swallowed the error. */
export function leaveHandler(): ObfeedError | undefined {
  inside = false
  return violation
}

function refuse(what: string, instead: string): never {
  const error = new ObfeedError(
    'E_STRATEGY',
    `${what} was used in a handler, expected ${instead}: with it no two runs of the same events ` +
      'are alike',
    { scope: 'agent', exitCode: EXIT.software },
  )
  violation ??= error
  throw error
}

const CLOCK = 'ctx.clock.nowUs()'
const RANDOM = 'ctx.random()'
const TIMER = 'ctx.clock.after() or ctx.clock.every()'
const NETWORK = 'a book, a timer or a parameter'

type Undo = () => void
let undo: Undo[] | undefined

/** Idempotent. The returned function puts everything back. */
export function installGuard(): () => void {
  undo ??= [
    guardDate(),
    guardMethod(Math, 'Math', 'random', RANDOM),
    guardMethod(performance, 'performance', 'now', CLOCK),
    guardMethod(process, 'process', 'hrtime', CLOCK),
    guardMethod(crypto, 'crypto', 'randomUUID', RANDOM),
    guardMethod(crypto, 'crypto', 'getRandomValues', RANDOM),
    guardMethod(globalThis, '', 'setTimeout', TIMER),
    guardMethod(globalThis, '', 'setInterval', TIMER),
    guardMethod(globalThis, '', 'setImmediate', TIMER),
    guardMethod(globalThis, '', 'fetch', NETWORK),
  ]
  return () => {
    for (const one of undo ?? []) one()
    undo = undefined
  }
}

/** Replaces `owner[name]`; a call outside handlers goes through with everything as it was. */
function guardMethod(owner: object, called: string, name: string, instead: string): Undo {
  const original: unknown = Reflect.get(owner, name)
  if (typeof original !== 'function') return () => {}
  const own = Object.getOwnPropertyDescriptor(owner, name)
  const text = `${called === '' ? name : `${called}.${name}`}()`
  function guarded(this: unknown, ...args: unknown[]): unknown {
    if (inside) refuse(text, instead)
    return Reflect.apply(original as (...args: unknown[]) => unknown, this, args)
  }
  // `process.hrtime.bigint` and the like come along.
  Object.setPrototypeOf(guarded, original)
  if (name === 'hrtime') {
    const bigint: unknown = Reflect.get(original, 'bigint')
    guarded.bigint = () => {
      if (inside) refuse('process.hrtime.bigint()', instead)
      return (bigint as () => bigint)()
    }
  }
  Object.defineProperty(owner, name, { value: guarded, configurable: true, writable: true })
  return () => {
    if (own !== undefined) Object.defineProperty(owner, name, own)
    else Reflect.deleteProperty(owner, name)
  }
}

/** A date of given arguments is no clock and stays. */
function guardDate(): Undo {
  const RealDate = Date
  function GuardedDate(this: unknown, ...args: unknown[]): unknown {
    if (new.target === undefined) {
      if (inside) refuse('Date()', CLOCK)
      return RealDate()
    }
    if (inside && args.length === 0) refuse('new Date()', CLOCK)
    return Reflect.construct(RealDate, args, new.target === GuardedDate ? RealDate : new.target)
  }
  Object.setPrototypeOf(GuardedDate, RealDate)
  GuardedDate.prototype = RealDate.prototype
  GuardedDate.now = (): number => {
    if (inside) refuse('Date.now()', CLOCK)
    return RealDate.now()
  }
  globalThis.Date = GuardedDate as unknown as DateConstructor
  return () => {
    globalThis.Date = RealDate
  }
}
