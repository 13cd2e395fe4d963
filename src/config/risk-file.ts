/** The risk file: every limit in it is required, so that one that is missing never means "none". */
import { canonicalDecimal, compareDecimals } from '../core/decimal.ts'
import { EXIT, ObfeedError } from '../core/errors.ts'
import type { BookLimits, Limits } from '../orders/limits.ts'
import { describeNode, duplicateKeys, type JsonMember, type JsonNode, parseJson } from './json.ts'
import { readNamedFile } from './json.ts'
import { didYouMean } from './nearest.ts'

/** What a key holds. Decimals may be written as numbers or as text: their digits are kept. */
type Kind = 'decimal' | 'number' | 'integer' | 'boolean'

const BOOK_KEYS: Readonly<Record<string, Kind>> = {
  maxBookAgeMs: 'integer',
  allowUnproven: 'boolean',
  maxOrderSize: 'decimal',
  maxOrderNotional: 'decimal',
  maxPosition: 'decimal',
  collarBps: 'number',
  maxDepthShare: 'number',
} satisfies Record<keyof BookLimits, Kind>

const RUN_KEYS: Readonly<Record<string, Kind>> = {
  maxExposure: 'decimal',
  ordersPerSecond: 'number',
  maxOpenOrders: 'integer',
  duplicateMs: 'integer',
  maxDailyLoss: 'decimal',
  maxDrawdown: 'decimal',
  maxRejects: 'integer',
  maxUnknown: 'integer',
}

const EXPECTED: Readonly<Record<Kind, string>> = {
  decimal: 'a decimal of at least 0',
  number: 'a number of at least 0',
  integer: 'an integer of at least 0',
  boolean: 'true or false',
}

/** @throws {ObfeedError} exit 66 when the file is missing, 78 with every problem of its content. */
export function readRiskFile(path: string, books: readonly string[]): Limits {
  return parseRiskFile(path, readNamedFile(path, 'a risk file'), books)
}

/**
 * `books`: those of the strategy; others must not be named.
 *
 * @throws {ObfeedError} exit 78 with every problem of the text, one a line.
 */
export function parseRiskFile(path: string, text: string, books: readonly string[]): Limits {
  const root = parseJson(text, path)
  if (root.kind !== 'object') {
    throw refuse([
      `${path}:${root.line}:${root.column}: was ${
        describeNode(root)
      }, expected an object of limits`,
    ])
  }
  const problems: string[] = []
  const keys = { ...BOOK_KEYS, ...RUN_KEYS }
  const limits = readKeys(path, root.members, keys, ['books'], problems)
  for (const key of Object.keys(keys)) {
    if (root.members.some((member) => member.key === key)) continue
    problems.push(
      `${path}: "${key}" is missing, expected ${
        EXPECTED[keys[key]!]
      }; a missing limit is refused, ` +
        'it never means "no limit"',
    )
  }
  const own: Record<string, Partial<BookLimits>> = {}
  const named = root.members.find(({ key }) => key === 'books')?.value
  if (named !== undefined && named.kind !== 'object') {
    problems.push(`${at(path, named)}: "books" was ${describeNode(named)}, expected an object`)
  } else {
    for (const member of named?.members ?? []) {
      if (!books.includes(member.key)) {
        problems.push(
          `${at(path, member)}: "${member.key}" is no book of the strategy` +
            `${didYouMean(member.key, books)}; it trades ${books.join(', ')}`,
        )
      } else if (member.value.kind !== 'object') {
        problems.push(
          `${at(path, member.value)}: was ${
            describeNode(member.value)
          }, expected an object of limits`,
        )
      } else {
        own[member.key] = readKeys(path, member.value.members, BOOK_KEYS, [], problems)
      }
    }
    for (const { again, first } of duplicateKeys(named?.members ?? [])) {
      problems.push(twice(path, again, first))
    }
  }
  if (problems.length > 0) throw refuse(problems)
  return { ...limits, books: own } as unknown as Limits
}

function readKeys(
  path: string,
  members: readonly JsonMember[],
  keys: Readonly<Record<string, Kind>>,
  others: readonly string[],
  problems: string[],
): Record<string, string | number | boolean> {
  const found: Record<string, string | number | boolean> = {}
  for (const { again, first } of duplicateKeys(members)) problems.push(twice(path, again, first))
  for (const member of members) {
    if (others.includes(member.key)) continue
    const kind = Object.hasOwn(keys, member.key) ? keys[member.key] : undefined
    if (kind === undefined) {
      const meant = didYouMean(member.key, Object.keys(keys))
      problems.push(
        `${at(path, member)}: "${member.key}" is no limit here${
          meant || `; the limits are ${Object.keys(keys).join(', ')}`
        }`,
      )
      continue
    }
    const value = valueOf(member.value, kind)
    if (value === undefined) {
      problems.push(
        `${at(path, member.value)}: "${member.key}" was ${describeNode(member.value)}, expected ` +
          EXPECTED[kind],
      )
    } else found[member.key] = value
  }
  return found
}

function valueOf(node: JsonNode, kind: Kind): string | number | boolean | undefined {
  if (kind === 'boolean') return node.kind === 'boolean' ? node.value : undefined
  if (kind === 'decimal') {
    const text = node.kind === 'number' ? node.text : node.kind === 'string' ? node.value : ''
    const decimal = canonicalDecimal(text)
    return decimal !== undefined && compareDecimals(decimal, '0') >= 0 ? decimal : undefined
  }
  if (node.kind !== 'number' || !(node.value >= 0)) return undefined
  return kind === 'number' || Number.isSafeInteger(node.value) ? node.value : undefined
}

function at(path: string, { line, column }: { line: number; column: number }): string {
  return `${path}:${line}:${column}`
}

function twice(path: string, again: JsonMember, first: JsonMember): string {
  return `${at(path, again)}: "${again.key}" stands a second time, first in line ${first.line}; ` +
    'remove one'
}

function refuse(problems: readonly string[]): ObfeedError {
  return new ObfeedError('E_CONFIG', problems.join('\n'), { scope: 'agent', exitCode: EXIT.config })
}
