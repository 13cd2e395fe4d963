/** The log: consola with two reporters, to stderr only, bounded, and never waiting for its reader. */
import process from 'node:process'
import { writeSync } from 'node:fs'
import type { ConsolaInstance, ConsolaReporter, LogObject } from 'consola/core'
import { createConsola } from 'consola/core'
import { withoutCredentials } from '../core/credentials.ts'
import { foreignText, printable } from '../core/foreign-text.ts'

export type LogLevel = 'error' | 'warn' | 'info' | 'debug' | 'trace'

/** Plain values; an Error is shown by name, message and stack. */
export type LogFields = Readonly<Record<string, unknown>>

export interface LogOptions {
  readonly level: LogLevel
  readonly format: 'text' | 'json'
  /** Who speaks: `agent`, `worker-3`. */
  readonly name: string
}

/** Bytes that wait for a blocked stderr; what comes on top is dropped and counted. */
const WAITING_BYTES_MAX = 256 * 1024

/** consola's numbers. */
const LEVELS: Readonly<Record<LogLevel, number>> = {
  error: 0,
  warn: 1,
  info: 3,
  debug: 4,
  trace: 5,
}

/** Since the process started. Messages below the configured level are not counted. */
export const logStats: Record<LogLevel | 'dropped', number> = {
  error: 0,
  warn: 0,
  info: 0,
  debug: 0,
  trace: 0,
  /** Lines lost because the reader of stderr was too slow. */
  dropped: 0,
}

let name = 'obfeed'
let level = LEVELS.info
let format = formatText

const text: ConsolaReporter = { log: (entry) => write(`${formatText(entry)}\n`) }
const json: ConsolaReporter = { log: (entry) => write(`${formatJson(entry)}\n`) }

let reporter = text
/** Made for the first message: opening stderr takes longer than all else a process does at start. */
let logger: ConsolaInstance | undefined

// `consola/core` reads no environment: the level comes from `configureLog` alone.
function create(): ConsolaInstance {
  return createConsola({
    level,
    reporters: [reporter],
    throttle: 0,
    stdout: process.stderr,
    stderr: process.stderr,
  })
}

/** Before it was called: level info, text, name `obfeed`. */
export function configureLog(options: LogOptions): void {
  name = options.name
  level = LEVELS[options.level]
  format = options.format === 'json' ? formatJson : formatText
  reporter = options.format === 'json' ? json : text
  logger = undefined
}

function emit(kind: LogLevel, message: string, fields: LogFields | undefined): void {
  if (LEVELS[kind] > level) return
  logStats[kind]++
  // consola takes a lone object argument apart: the message goes first, always.
  logger ??= create()
  logger[kind](message, fields)
}

/** Message: a sentence without a dot; what varies goes into `fields`. Not for the hot path. */
export const log = {
  error: (message: string, fields?: LogFields): void => emit('error', message, fields),
  warn: (message: string, fields?: LogFields): void => emit('warn', message, fields),
  info: (message: string, fields?: LogFields): void => emit('info', message, fields),
  debug: (message: string, fields?: LogFields): void => emit('debug', message, fields),
  trace: (message: string, fields?: LogFields): void => emit('trace', message, fields),
} as const

/** Resolves when all lines have left, or after `timeoutMs`. For the end of the process. */
export function flushLog(timeoutMs = 1000): Promise<void> {
  if (waitingBytes === 0) return Promise.resolve()
  return new Promise((resolve) => {
    const timer = setTimeout(resolve, timeoutMs)
    process.stderr.write('', () => {
      clearTimeout(timer)
      resolve()
    })
  })
}

/** For the last line of a process that ends at once; everything else goes through `log`. */
export function logLastWords(message: string, fields?: LogFields): void {
  const entry: Entry = { date: new Date(), type: 'error', args: [message, fields] }
  logStats.error++
  const bytes = Buffer.from(`${format(entry)}\n`)
  // A non-blocking pipe may be full for a moment: try for a little while, then let it go.
  for (let offset = 0, refused = 0; offset < bytes.length && refused < 100;) {
    try {
      offset += writeSync(2, bytes, offset)
    } catch (error) {
      if (!(error instanceof Error && 'code' in error && error.code === 'EAGAIN')) return
      refused++
      Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 1)
    }
  }
}

// -- writing

let waitingBytes = 0
let droppedSinceReport = 0
let guarded = false

function write(line: string): void {
  if (waitingBytes + line.length > WAITING_BYTES_MAX) {
    logStats.dropped++
    droppedSinceReport++
    return
  }
  if (!guarded) {
    guarded = true
    // A reader that went away must not end the process.
    process.stderr.on('error', () => {})
  }
  waitingBytes += line.length
  process.stderr.write(line, () => {
    waitingBytes -= line.length
    if (droppedSinceReport > 0 && waitingBytes < WAITING_BYTES_MAX / 2) {
      const lines = droppedSinceReport
      droppedSinceReport = 0
      log.warn('log lines were dropped because the reader of stderr was too slow', { lines })
    }
  })
}

// -- formats

type Entry = Pick<LogObject, 'date' | 'type' | 'args'>

/** Characters of a message, of a field, or of a line of a stack. */
const TEXT_MAX = 8192
/** Of a stack, the lines nearest to where it was thrown. */
const STACK_LINES_MAX = 30

/**
 * `2026-11-22T23:00:00.000Z INFO  worker-3 book is live symbol=ETH/USD seq=4`. One line, but for
 * stacks, whose lines are indented: no text can pass for a line of the log.
 */
function formatText({ date, type, args }: Entry): string {
  const message = foreignText(String(args[0]), TEXT_MAX)
  let line = `${date.toISOString()} ${type.toUpperCase().padEnd(5)} ${name} ${message}`
  let stack = ''
  for (const [key, value] of Object.entries((args[1] ?? {}) as LogFields)) {
    if (value === undefined) continue
    if (value instanceof Error) {
      line += ` ${key}=${quoted(`${value.name}: ${value.message}`)}`
      stack += framesOf(value).map((frame) => `\n    ${frame}`).join('')
    } else line += ` ${key}=${quoted(value)}`
  }
  return line + stack
}

/** The lines of an error's stack, without the message that may stand before them. */
function framesOf(error: Error): string[] {
  const { stack = '', name, message } = error
  const head = [`${name}: ${message}`, message].find((text) => stack.startsWith(text)) ?? ''
  return stack.slice(head.length).split('\n').map((line) => line.trim())
    .filter((line) => line !== '')
    .slice(0, STACK_LINES_MAX)
    .map((line) => foreignText(line, TEXT_MAX))
}

/**
 * In quotes where it needs them. A backslash is doubled only before a quote, where it would change
 * what that means: what was escaped once is not escaped again.
 */
function quoted(value: unknown): string {
  const whole = typeof value === 'object' ? stringify(value) ?? 'unprintable' : String(value)
  const shown = foreignText(whole, TEXT_MAX)
  if (/^[^\s"=]+$/.test(shown)) return shown
  return `"${
    shown.replace(/(\\*)("|$)/g, (_, before: string, quote: string) => {
      return before + before + (quote === '' ? '' : '\\"')
    })
  }"`
}

/** `{"ts":…,"level":…,"logger":…,"msg":…}` and the fields, which cannot replace these four. */
function formatJson({ date, type, args }: Entry): string {
  const msg = readable(String(args[0]))
  const own = { ts: date.toISOString(), level: type, logger: name, msg }
  const fields = (args[1] ?? {}) as LogFields
  const line = stringify({ ...own, ...fields, ...own }) ??
    JSON.stringify({ ...own, fields: `unprintable: ${Object.keys(fields).join(', ')}` })
  // What is left of it stands inside strings, where the same escape is JSON's own.
  return printable(line)
}

/** JSON escapes the rest itself. */
function readable(text: string): string {
  const kept = text.length <= TEXT_MAX ? text : `${text.slice(0, TEXT_MAX)}…`
  return withoutCredentials(kept)
}

/** Undefined for what has no JSON: a ring, a getter that throws. */
function stringify(value: unknown): string | undefined {
  try {
    return JSON.stringify(value, (_, inner: unknown) => {
      if (typeof inner === 'string') return readable(inner)
      if (inner instanceof Error) {
        const stack = [readable(`${inner.name}: ${inner.message}`), ...framesOf(inner)]
        return { name: inner.name, msg: readable(inner.message), stack: stack.join('\n    ') }
      }
      return typeof inner === 'bigint' ? inner.toString() : inner
    })
  } catch {
    return undefined
  }
}
