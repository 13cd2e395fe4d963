/** What this build is: version, commit, the libraries inside, and an identity for processes to compare. */
import process from 'node:process'
import { buildId, runtimeVersion } from './agent/runtime.ts'
import ws from '../node_modules/ws/package.json' with { type: 'json' }
import own from '../package.json' with { type: 'json' }

// Replaced by constants when the binary is built; a run from source has none of them.
declare const OBFEED_VERSION: string | undefined
declare const OBFEED_COMMIT: string | undefined
declare const OBFEED_BUILD_TIME: string | undefined

export interface BuildInfo {
  readonly version: string
  /** `dev` in a run from source. */
  readonly commit: string
  /** ISO 8601; `dev` in a run from source. */
  readonly buildTime: string
  /** `linux-x64`. */
  readonly target: string
  /** `bun 1.4.5` or `deno 2.9.6`. */
  readonly runtime: string
  readonly bun: string | undefined
  readonly ccxt: string
  readonly kafkajs: string
  readonly ws: string
  readonly wireFormat: 1
  /** The same for every process of one build. */
  readonly buildId: string
}

export function buildInfo(): BuildInfo {
  const { dependencies } = own
  return {
    version: typeof OBFEED_VERSION === 'undefined' ? own.version : OBFEED_VERSION,
    commit: typeof OBFEED_COMMIT === 'undefined' ? 'dev' : OBFEED_COMMIT,
    buildTime: typeof OBFEED_BUILD_TIME === 'undefined' ? 'dev' : OBFEED_BUILD_TIME,
    target: `${process.platform}-${process.arch}`,
    runtime: runtimeVersion(),
    bun: process.versions['bun'],
    ccxt: dependencies.ccxt,
    kafkajs: dependencies.kafkajs,
    ws: ws.version,
    wireFormat: 1,
    buildId: buildId(),
  }
}
