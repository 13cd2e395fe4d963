/**
 * Which symbols of a map were markets of the exchange when it was used last, in a small file beside
 * the map. One that is gone since is told from one that never was.
 */
import { existsSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import process from 'node:process'

/** `coinbase_config.json` -> `coinbase_config.known.json`. */
export function knownPath(mapPath: string): string {
  return mapPath.replace(/(\.json)?$/, '.known.json')
}

/** None when there is no such file, when it cannot be read, or when it is about another exchange. */
export function readKnownSymbols(mapPath: string, exchange: string): Set<string> {
  let content: { readonly exchange?: unknown; readonly symbols?: unknown } | null
  try {
    content = JSON.parse(readFileSync(knownPath(mapPath), 'utf8')) as typeof content
  } catch {
    return new Set()
  }
  if (content?.exchange !== exchange || !Array.isArray(content.symbols)) return new Set()
  return new Set(content.symbols.filter((one): one is string => typeof one === 'string'))
}

/** Whole or not at all; only when it changes. Returns why it could not: that harms nobody now. */
export function writeKnownSymbols(
  mapPath: string,
  exchange: string,
  symbols: readonly string[],
): string | undefined {
  const path = knownPath(mapPath)
  const text = `${JSON.stringify({ exchange, symbols: symbols.toSorted() }, null, 2)}\n`
  const temporary = `${path}.${process.pid}.tmp`
  try {
    if (existsSync(path) && readFileSync(path, 'utf8') === text) return undefined
    writeFileSync(temporary, text)
    renameSync(temporary, path)
    return undefined
  } catch (error) {
    try {
      rmSync(temporary, { force: true })
    } catch {
      // Where nothing may be written there is nothing to remove.
    }
    return (error as Error).message
  }
}
