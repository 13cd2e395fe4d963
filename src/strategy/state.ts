/** What a strategy keeps over reloads and restarts, as JSON. */
import type { Json, State } from './contract.ts'

export class SavedState implements State {
  readonly #values: Map<string, string>
  readonly #changed: (key: string, value: Json) => void

  /** `saved`: what `toJSON` gave before. */
  constructor(
    saved: Readonly<Record<string, Json>> | undefined,
    changed: (key: string, value: Json) => void,
  ) {
    this.#values = new Map(
      Object.entries(saved ?? {}).map(([key, value]) => [key, JSON.stringify(value)]),
    )
    this.#changed = changed
  }

  get<T extends Json>(key: string): T | undefined {
    const text = this.#values.get(key)
    return text === undefined ? undefined : JSON.parse(text) as T
  }

  /** Throws a TypeError when the value is none of JSON's: it would be another one after a restart. */
  set(key: string, value: Json): void {
    assertJson(key, value)
    const text = JSON.stringify(value)
    if (this.#values.get(key) === text) return
    this.#values.set(key, text)
    this.#changed(key, JSON.parse(text) as Json)
  }

  toJSON(): Record<string, Json> {
    return Object.fromEntries(
      [...this.#values].sort(([a], [b]) => a < b ? -1 : 1)
        .map(([key, text]) => [key, JSON.parse(text) as Json]),
    )
  }
}

function assertJson(key: string, value: unknown): void {
  if (value === null || typeof value === 'boolean' || typeof value === 'string') return
  if (typeof value === 'number' && Number.isFinite(value)) return
  if (Array.isArray(value)) return value.forEach((one) => assertJson(key, one))
  if (typeof value === 'object' && Object.getPrototypeOf(value) === Object.prototype) {
    return Object.values(value).forEach((one) => assertJson(key, one))
  }
  const found = typeof value === 'number' ? String(value) : typeof value
  throw new TypeError(`state "${key}" was given ${found}, expected what JSON can say`)
}
