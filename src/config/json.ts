/** Strict JSON with the line and column of every key and value, so that a file's errors can point. */
import { readFileSync } from 'node:fs'
import { EXIT, ObfeedError } from '../core/errors.ts'

/** Both count from 1; a column is a UTF-16 unit, as editors count. */
export interface Position {
  readonly line: number
  readonly column: number
}

export interface JsonMember extends Position {
  readonly key: string
  readonly value: JsonNode
}

export type JsonNode =
  | Position & { readonly kind: 'object'; readonly members: readonly JsonMember[] }
  | Position & { readonly kind: 'array'; readonly items: readonly JsonNode[] }
  | Position & { readonly kind: 'string'; readonly value: string }
  /** `text` as it stands in the file: `1e3` and `1000` can be told apart. */
  | Position & { readonly kind: 'number'; readonly value: number; readonly text: string }
  | Position & { readonly kind: 'boolean'; readonly value: boolean }
  | Position & { readonly kind: 'null' }

const DEPTH_MAX = 64
const NUMBER = /-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?/y
const WORD = /[A-Za-z_$][\w$]*/y
const ESCAPES: Readonly<Record<string, string>> = {
  '"': '"',
  '\\': '\\',
  '/': '/',
  b: '\b',
  f: '\f',
  n: '\n',
  r: '\r',
  t: '\t',
}

class Reader {
  readonly #text: string
  readonly #path: string
  #offset = 0
  #line = 1
  #lineStart = 0

  constructor(text: string, path: string) {
    this.#text = text
    this.#path = path
    // A byte order mark is invisible in editors: it neither counts nor disturbs.
    if (text.charCodeAt(0) === 0xfeff) this.#offset = this.#lineStart = 1
  }

  document(): JsonNode {
    this.#space()
    if (this.#offset >= this.#text.length) this.#fail('the file is empty, expected JSON')
    const node = this.#value(0)
    this.#space()
    if (this.#offset < this.#text.length) {
      this.#fail(`found ${this.#found()} after the end of the JSON value; remove it`)
    }
    return node
  }

  #position(): Position {
    return { line: this.#line, column: this.#offset - this.#lineStart + 1 }
  }

  #fail(problem: string, at: Position = this.#position()): never {
    throw new ObfeedError('E_CONFIG', `${this.#path}:${at.line}:${at.column}: ${problem}`, {
      scope: 'agent',
      exitCode: EXIT.config,
    })
  }

  #found(): string {
    if (this.#offset >= this.#text.length) return 'the end of the file'
    WORD.lastIndex = this.#offset
    const word = WORD.exec(this.#text)
    const found = word?.[0] ?? String.fromCodePoint(this.#text.codePointAt(this.#offset)!)
    return found === "'" ? `a single quote` : `"${found}"`
  }

  #space(): void {
    for (; this.#offset < this.#text.length; this.#offset++) {
      const unit = this.#text.charCodeAt(this.#offset)
      if (unit === 10) {
        this.#line++
        this.#lineStart = this.#offset + 1
      } else if (unit !== 32 && unit !== 9 && unit !== 13) break
    }
    if (this.#text.startsWith('//', this.#offset) || this.#text.startsWith('/*', this.#offset)) {
      this.#fail('found a comment, JSON has none; remove it')
    }
  }

  #value(depth: number): JsonNode {
    const at = this.#position()
    if (depth > DEPTH_MAX) this.#fail(`nested deeper than ${DEPTH_MAX} levels`)
    const first = this.#text[this.#offset]
    if (first === '{') return this.#object(at, depth)
    if (first === '[') return this.#array(at, depth)
    if (first === '"') return { ...at, kind: 'string', value: this.#string() }
    WORD.lastIndex = this.#offset
    const word = WORD.exec(this.#text)?.[0]
    if (word === 'true' || word === 'false') {
      this.#offset += word.length
      return { ...at, kind: 'boolean', value: word === 'true' }
    }
    if (word === 'null') {
      this.#offset += 4
      return { ...at, kind: 'null' }
    }
    NUMBER.lastIndex = this.#offset
    const number = NUMBER.exec(this.#text)?.[0]
    if (number !== undefined) {
      this.#offset += number.length
      if (/[\w.+]/.test(this.#text[this.#offset] ?? '')) {
        this.#fail('malformed number, expected plain digits such as 12 or 0.5', at)
      }
      return { ...at, kind: 'number', value: Number(number), text: number }
    }
    const remedy = first === "'" ? '; strings stand in double quotes' : ''
    this.#fail(`found ${this.#found()}, expected a value${remedy}`)
  }

  #object(at: Position, depth: number): JsonNode {
    const members: JsonMember[] = []
    this.#offset++
    this.#space()
    if (this.#take('}')) return { ...at, kind: 'object', members }
    for (;;) {
      const keyAt = this.#position()
      if (this.#text[this.#offset] !== '"') {
        const trailing = members.length > 0 && this.#text[this.#offset] === '}'
        if (trailing) this.#fail('found "}" after a comma, expected a key; remove the comma')
        this.#fail(`found ${this.#found()}, expected a key in double quotes`)
      }
      const key = this.#string()
      this.#space()
      if (!this.#take(':')) this.#fail(`found ${this.#found()}, expected ":" after "${key}"`)
      this.#space()
      members.push({ ...keyAt, key, value: this.#value(depth + 1) })
      this.#space()
      if (this.#take('}')) return { ...at, kind: 'object', members }
      if (!this.#take(',')) this.#fail(`found ${this.#found()}, expected "," or "}"`)
      this.#space()
    }
  }

  #array(at: Position, depth: number): JsonNode {
    const items: JsonNode[] = []
    this.#offset++
    this.#space()
    if (this.#take(']')) return { ...at, kind: 'array', items }
    for (;;) {
      if (items.length > 0 && this.#text[this.#offset] === ']') {
        this.#fail('found "]" after a comma, expected a value; remove the comma')
      }
      items.push(this.#value(depth + 1))
      this.#space()
      if (this.#take(']')) return { ...at, kind: 'array', items }
      if (!this.#take(',')) this.#fail(`found ${this.#found()}, expected "," or "]"`)
      this.#space()
    }
  }

  #take(character: string): boolean {
    if (this.#text[this.#offset] !== character) return false
    this.#offset++
    return true
  }

  #string(): string {
    const at = this.#position()
    let value = ''
    for (this.#offset++;; this.#offset++) {
      const character = this.#text[this.#offset]
      if (character === undefined || character === '\n') {
        this.#fail('the string is not closed, expected a double quote on the same line', at)
      }
      if (character === '"') {
        this.#offset++
        return value
      }
      if (character === '\\') value += this.#escape()
      else if (character < ' ') this.#fail('found a control character in a string; escape it')
      else value += character
    }
  }

  /** Leaves the offset on the last character of the escape. */
  #escape(): string {
    const letter = this.#text[this.#offset + 1] ?? ''
    if (letter === 'u') {
      const digits = this.#text.slice(this.#offset + 2, this.#offset + 6)
      if (!/^[0-9a-fA-F]{4}$/.test(digits)) {
        this.#fail('malformed escape, expected four hexadecimal digits after \\u')
      }
      this.#offset += 5
      return String.fromCharCode(parseInt(digits, 16))
    }
    const character = ESCAPES[letter]
    if (character === undefined) this.#fail(`unknown escape \\${letter} in a string`)
    this.#offset++
    return character
  }
}

/**
 * Duplicate keys are kept, in order: the caller says what they mean.
 *
 * @throws {ObfeedError} E_CONFIG `path:line:column: …`, exit 78.
 */
export function parseJson(text: string, path: string): JsonNode {
  return new Reader(text, path).document()
}

/** Members whose key stood already further up, each with the position of the first. */
export function duplicateKeys(
  members: readonly JsonMember[],
): { readonly again: JsonMember; readonly first: JsonMember }[] {
  const seen = new Map<string, JsonMember>()
  const duplicates: { again: JsonMember; first: JsonMember }[] = []
  for (const member of members) {
    const first = seen.get(member.key)
    if (first === undefined) seen.set(member.key, member)
    else duplicates.push({ again: member, first })
  }
  return duplicates
}

/** A node as an error message names it: `"abc"`, `12`, `a list`. */
export function describeNode(node: JsonNode): string {
  if (node.kind === 'object') return 'an object'
  if (node.kind === 'array') return 'a list'
  if (node.kind === 'null') return 'null'
  return node.kind === 'number' ? node.text : JSON.stringify(node.value)
}

/**
 * The text of a file that the user named.
 *
 * @throws {ObfeedError} E_NO_INPUT, exit 66 when it is not there, 77 when it must not be read, 78 when
 * it is not UTF-8.
 */
export function readNamedFile(path: string, what: string): string {
  return decodeNamed(path, readBytes(path, what))
}

function decodeNamed(path: string, bytes: Uint8Array): string {
  const encoding = foreignEncoding(bytes)
  if (encoding === undefined) {
    try {
      return new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes)
    } catch {
      // Which one it is instead, nobody can tell for certain.
    }
  }
  const remedy = encoding ?? 'ISO-8859-1'
  throw new ObfeedError(
    'E_CONFIG',
    `${path}: is ${encoding ?? 'not UTF-8'}, expected UTF-8; convert it: ` +
      `iconv -f ${remedy} -t UTF-8 ${path} > NEW${
        encoding === undefined ? ' (from whatever encoding it has)' : ''
      }`,
    { scope: 'agent', exitCode: EXIT.config },
  )
}

/** By its mark of byte order, or by the NULs that every second byte of plain text is then. */
function foreignEncoding(bytes: Uint8Array): string | undefined {
  const [a, b, c, d] = bytes
  if (a === 0xff && b === 0xfe) return c === 0 && d === 0 ? 'UTF-32LE' : 'UTF-16LE'
  if (a === 0xfe && b === 0xff) return 'UTF-16BE'
  if (a === 0 && b === 0 && c === 0xfe && d === 0xff) return 'UTF-32BE'
  if (bytes.length < 2) return undefined
  if (a !== 0 && b === 0) return 'UTF-16LE'
  return a === 0 && b !== 0 ? 'UTF-16BE' : undefined
}

function readBytes(path: string, what: string): Uint8Array {
  try {
    return readFileSync(path)
  } catch (cause) {
    const code = cause instanceof Error && 'code' in cause ? String(cause.code) : ''
    const fail = (problem: string, exitCode: number): never => {
      throw new ObfeedError('E_NO_INPUT', `${path}: ${problem}`, {
        scope: 'agent',
        exitCode,
        cause,
      })
    }
    if (code === 'ENOENT' || code === 'ENOTDIR') {
      return fail(`no such file, expected ${what}; create it or correct the path`, EXIT.noInput)
    }
    if (code === 'EISDIR') {
      return fail(`is a folder, expected ${what}; name a file in it`, EXIT.noInput)
    }
    if (code === 'EACCES' || code === 'EPERM') {
      return fail(`may not be read, expected ${what}; change its permissions`, EXIT.permission)
    }
    throw cause
  }
}
