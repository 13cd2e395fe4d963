/** The registry: one line per exchange. */
import type { Adapter } from './adapter.ts'
import { coinbase } from './coinbase.ts'

export const adapters: Readonly<Record<string, Adapter>> = {
  coinbase,
}
