/** Faults inside a simulated exchange: which are armed, when they strike, and that they did. */
import { isExchangeFault, Trigger } from './faults.ts'
import type { FaultKind, FaultSpec } from './faults.ts'
import type { Product } from './products.ts'
import type { Random } from './random.ts'
import type { Verdict } from './rules.ts'

/** Whom a fault struck. */
interface Struck {
  readonly id: number
  readonly sequence: number
}

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
  readonly #products: readonly Product[]
  /** Product indices by name. */
  readonly #names: ReadonlyMap<string, number>
  readonly #random: Random
  #armed: Trigger[] = []

  constructor(products: readonly Product[], names: ReadonlyMap<string, number>, random: Random) {
    this.#products = products
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

  /** It struck: what comes now is wrong. Without a connection it is a REST request. */
  declare(
    kind: FaultKind,
    variant: string,
    connection: Struck | undefined,
    product: number | undefined,
    version: number,
  ): void {
    this.declared.push({
      kind,
      variant,
      connection: connection?.id ?? 0,
      wireSymbol: product === undefined ? '' : this.#products[product]!.wireSymbol,
      sequence: connection?.sequence ?? -1,
      version,
    })
    if (this.declared.length > DECLARED_MAX) this.declared.shift()
  }

  /** What becomes of a subscription; to be asked once for each product. */
  verdict(connection: Struck, product: number, nowMs: number): Verdict {
    if (!this.isArmed) return 'ok'
    for (const kind of ['refuse', 'ignore'] as const) {
      if (this.struck(kind, connection.id, product, nowMs) === undefined) continue
      this.declare(kind, '', connection, product, -1)
      return kind
    }
    return 'ok'
  }
}
