/** Faults inside a simulated exchange: which are armed, when they strike, and that they did. */
import { isExchangeFault, Trigger } from './faults.ts'
import type { FaultKind, FaultSpec } from './faults.ts'
import type { Random } from './random.ts'

/** A fault that struck inside the exchange. */
export interface Declared {
  readonly kind: FaultKind
  readonly variant: string
  /** 0: a REST request. */
  readonly connection: number
  /** '' when it was not about one product. */
  readonly wireSymbol: string
  /** Of the frame that was wrong; for `stall` the first that was not sent. */
  readonly sequence: number
  readonly version: number
}

const DECLARED_MAX = 1_000

export class ExchangeFaults {
  /** Those that struck, the last 1,000. */
  readonly declared: Declared[] = []
  /** Product indices by name. */
  readonly #names: ReadonlyMap<string, number>
  readonly #random: Random
  #armed: Trigger[] = []

  constructor(names: ReadonlyMap<string, number>, random: Random) {
    this.#names = names
    this.#random = random
  }

  get isArmed(): boolean {
    return this.#armed.length > 0
  }

  /** Arms an exchange fault; line faults are not the exchange's and are ignored. */
  inject(spec: FaultSpec): void {
    if (!isExchangeFault(spec.kind)) return
    this.#armed.push(new Trigger(spec, this.#random))
  }

  clear(): void {
    this.#armed = []
  }

  /**
   * The fault that strikes what is about to happen; the caller declares or refunds it. Product -1:
   * of no product, which faults that name one do not meet.
   */
  struck(kind: FaultKind, connection: number, product: number, nowMs: number): Trigger | undefined {
    for (const trigger of this.#armed) {
      const { spec } = trigger
      if (spec.kind !== kind) continue
      if (spec.connection !== undefined && spec.connection !== connection) continue
      if (spec.symbol !== undefined && this.#names.get(spec.symbol) !== product) continue
      if (trigger.hit(nowMs)) return trigger
    }
    return undefined
  }

  /** It struck: what comes now is wrong. */
  declare(declared: Declared): void {
    this.declared.push(declared)
    if (this.declared.length > DECLARED_MAX) this.declared.shift()
  }
}
