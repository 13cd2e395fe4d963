/** Faults inside the simulated Coinbase: which are armed, when they strike, and that they did. */
import type { Connection } from './coinbase-connection.ts'
import { isExchangeFault, Trigger } from './faults.ts'
import type { ExchangeFaultKind, FaultSpec } from './faults.ts'
import type { Market } from './market.ts'
import type { Random } from './random.ts'

/** A fault that struck inside the exchange. */
export interface Declared {
  readonly kind: ExchangeFaultKind
  readonly variant: string
  readonly connection: number
  readonly wireSymbol: string
  /** Of the frame that was wrong; for `stall` the first that was not sent. */
  readonly sequence: number
  readonly version: number
}

const DECLARED_MAX = 1_000

export class CoinbaseFaults {
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

  /** The fault that strikes the frame about to be made; the caller declares or refunds it. */
  struck(
    kind: ExchangeFaultKind,
    connection: Connection,
    product: number,
    nowMs: number,
  ): Trigger | undefined {
    for (const trigger of this.#armed) {
      const { spec } = trigger
      if (spec.kind !== kind) continue
      if (spec.connection !== undefined && spec.connection !== connection.id) continue
      if (spec.symbol !== undefined && this.#names.get(spec.symbol) !== product) continue
      if (trigger.hit(nowMs)) return trigger
    }
    return undefined
  }

  /** The frame that `connection` is about to get is wrong. */
  declare(
    kind: ExchangeFaultKind,
    variant: string,
    connection: Connection,
    market: Market,
  ): void {
    this.declared.push({
      kind,
      variant,
      connection: connection.id,
      wireSymbol: market.product.wireSymbol,
      sequence: connection.sequence,
      version: market.version,
    })
    if (this.declared.length > DECLARED_MAX) this.declared.shift()
  }
}
