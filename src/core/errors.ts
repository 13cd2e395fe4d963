/** The one operating error of obfeed, its scopes, and the exit codes every command documents. */

import { withoutCredentials } from './credentials.ts'

/** How much must be torn down. The handler at that scope acts, all others pass the error on. */
export type Scope = 'symbol' | 'connection' | 'worker' | 'agent'

/** Process exit codes (sysexits where one fits). `--help` and the README print this table. */
export const EXIT = {
  ok: 0,
  uncaught: 1,
  /** `tap --verify`: a proof failed. */
  data: 65,
  usage: 64,
  noInput: 66,
  unavailable: 69,
  software: 70,
  os: 71,
  cannotCreate: 73,
  temporary: 75,
  permission: 77,
  config: 78,
  drainTimeout: 124,
  interrupted: 130,
  terminated: 143,
} as const

/** One line per exit code, as `--help` prints them. */
export const EXIT_TEXT: Readonly<Record<number, string>> = {
  0: 'done, or stopped by TERM/INT after a clean drain',
  1: 'uncaught error (a bug)',
  64: 'wrong usage: unknown flag, missing or malformed value',
  65: 'a proof failed (tap --verify)',
  66: 'a file named on the command line does not exist',
  69: 'a required service is not available (exchange metadata, Kafka)',
  70: 'a worker kept crashing: restart budget spent',
  71: 'the operating system refused (taskset, spawn)',
  73: 'an output cannot be written',
  75: 'temporary failure, try again',
  77: 'permission denied',
  78: 'wrong configuration or partition map',
  124: 'drain timeout: some records were not acknowledged',
  130: 'second INT: stopped at once',
  143: 'second TERM: stopped at once',
}

export type ErrorCode =
  | 'E_USAGE'
  | 'E_CONFIG'
  | 'E_NO_INPUT'
  | 'E_UNAVAILABLE'
  | 'E_OS'
  | 'E_DECODE'
  | 'E_SEQUENCE_GAP'
  | 'E_CROSSED'
  | 'E_CHECKSUM'
  | 'E_SUBSCRIBE'
  | 'E_SNAPSHOT'
  | 'E_SOCKET'
  | 'E_STALE'
  | 'E_RATE_LIMITED'
  | 'E_SINK'
  /** Kafka takes no batch as large as the one it was given. */
  | 'E_TOO_LARGE'
  | 'E_OVERFLOW'
  | 'E_RESTART_BUDGET'
  | 'E_STRATEGY'
  | 'E_EXCHANGE_CLOSED'

export interface ErrorDetails {
  readonly scope: Scope
  /** ccxt unified symbol, when one symbol is to blame. */
  readonly symbol?: string
  /** The other side asked us to wait this long. */
  readonly retryAfterMs?: number
  /** Only read when the error ends a command. */
  readonly exitCode?: number
  readonly cause?: unknown
}

/**
 * An operating error: what was found, what was expected, and the remedy, in that order, in one
 * message. A programmer error is an assert and ends the process instead.
 */
export class ObfeedError extends Error {
  readonly code: ErrorCode
  readonly scope: Scope
  readonly symbol: string | undefined
  readonly retryAfterMs: number | undefined
  readonly exitCode: number

  constructor(code: ErrorCode, message: string, details: ErrorDetails) {
    super(
      withoutCredentials(message),
      details.cause === undefined ? undefined : { cause: details.cause },
    )
    this.name = 'ObfeedError'
    this.code = code
    this.scope = details.scope
    this.symbol = details.symbol
    this.retryAfterMs = details.retryAfterMs
    this.exitCode = details.exitCode ?? EXIT.software
  }
}
