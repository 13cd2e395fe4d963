/** Flags, environment and file merged into one `Settings`, each value with its origin. */
import process from 'node:process'
import { dirname, isAbsolute, join } from 'node:path'
import { addressShown } from '../core/credentials.ts'
import { EXIT, ObfeedError } from '../core/errors.ts'
import { formerIds } from '../exchanges/index.ts'
import type { JsonNode } from './json.ts'
import { describeNode, duplicateKeys, parseJson, readNamedFile } from './json.ts'
import { didYouMean } from './nearest.ts'
import type { Option, SettingKey, SettingValue } from './options.ts'
import { CONFIG_ENV, CONFIG_FLAG, OPTIONS } from './options.ts'
import type { Settings } from './settings.ts'

export type Origin = 'flag' | 'env' | 'file' | 'default'

export interface SettingsSources {
  /** By flag name, as citty hands them over; what is no setting is ignored. */
  readonly flags: Readonly<Record<string, unknown>>
  /** `process.env` when absent. */
  readonly env?: Readonly<Record<string, string | undefined>>
  /**
   * The config file. Absent: the one that `--config` or OBFEED_CONFIG names. Without those none is
   * read, whatever lies in the current folder.
   */
  readonly file?: { readonly path: string; readonly text: string }
  /** Settings the command cannot do without; `exchange` and `map` when absent. */
  readonly required?: readonly SettingKey[]
}

export interface ResolvedSettings {
  readonly settings: Settings
  readonly origins: Readonly<Record<SettingKey, Origin>>
  /** Not wrong, but hardly meant: former exchange ids, variables that mean nothing. */
  readonly warnings: readonly string[]
}

/** Variables of the project that are no settings. */
const OTHER_VARIABLES = /^OBFEED_(CONFIG|TEST_|INSTALL_|VERSION$|BASE_URL$|ARTIFACT$|LIVE$)/

interface Found {
  readonly text: string
  readonly origin: Origin
  /** How a message names the place: `--depth`, `OBFEED_DEPTH`, `obfeed.json:3:12: "depth"`. */
  readonly place: string
}

function problem(code: 'E_USAGE' | 'E_CONFIG', message: string): ObfeedError {
  const exitCode = code === 'E_USAGE' ? EXIT.usage : EXIT.config
  return new ObfeedError(code, message, { scope: 'agent', exitCode })
}

/** An exchange's default topic has its name filled in. */
function filled(settings: Record<string, SettingValue>): Record<string, SettingValue> {
  const { topic, exchange } = settings
  return typeof topic === 'string' && typeof exchange === 'string'
    ? { ...settings, topic: topic.replaceAll('{exchange}', exchange) }
    : settings
}

/**
 * Precedence: flag, `OBFEED_*`, config file, default. An empty variable counts as unset, an empty
 * flag does not. All problems of the file are told in one error.
 *
 * @throws {ObfeedError} exit 64 for a flag, 66 for a missing file, 78 for a variable or the file.
 */
export function resolveSettings(sources: SettingsSources): ResolvedSettings {
  const env = sources.env ?? process.env
  const inFile = readConfig(sources, env)
  const settings: Record<string, SettingValue> = {}
  const origins: Partial<Record<SettingKey, Origin>> = {}
  for (const option of OPTIONS) {
    const found = findFlag(option, sources.flags) ?? findVariable(option, env) ??
      inFile.get(option.key) ?? findDefault(option)
    origins[option.key] = found?.origin ?? 'default'
    if (found !== undefined) settings[option.key] = parseValue(option, found)
  }
  for (const key of sources.required ?? ['exchange', 'map']) {
    if (settings[key] === undefined) throw missing(OPTIONS.find((option) => option.key === key)!)
  }
  checkSasl(settings)
  const warnings = unknownVariables(env)
  const { exchange } = settings
  if (typeof exchange === 'string' && Object.hasOwn(formerIds, exchange)) {
    settings['exchange'] = formerIds[exchange]!
    warnings.push(`the exchange "${exchange}" is called ${formerIds[exchange]} today, used that`)
  }
  return {
    // Every member was parsed by the option that is declared for it.
    settings: filled(settings) as unknown as Settings,
    origins: origins as Record<SettingKey, Origin>,
    warnings,
  }
}

function findFlag(option: Option, flags: SettingsSources['flags']): Found | undefined {
  const value = option.flag === undefined ? undefined : flags[option.flag]
  if (value === undefined) return undefined
  return { text: String(value), origin: 'flag', place: `--${option.flag}` }
}

function findVariable(
  option: Option,
  env: Readonly<Record<string, string | undefined>>,
): Found | undefined {
  const text = env[option.env]
  const fileVariable = `${option.env}_FILE`
  const path = option.secret ? env[fileVariable] : undefined
  if (text && path) {
    throw problem(
      'E_CONFIG',
      `${option.env} and ${fileVariable} are both set, expected one; unset the other`,
    )
  }
  if (text) return { text, origin: 'env', place: option.env }
  if (!path) return undefined
  const secret = readNamedFile(path, `the secret that ${fileVariable} names`).replace(/\r?\n$/, '')
  if (secret === '') throw problem('E_CONFIG', `${path}: is empty, expected ${option.expected}`)
  return { text: secret, origin: 'env', place: fileVariable }
}

function findDefault(option: Option): Found | undefined {
  if (option.default === undefined) return undefined
  return { text: option.default, origin: 'default', place: `default of ${option.key}` }
}

function parseValue(option: Option, found: Found): SettingValue {
  const value = found.text === '' ? undefined : option.parse(found.text)
  if (value !== undefined) return value
  const was = option.secret
    ? 'does not fit'
    : `was ${JSON.stringify(shownText(option, found.text))}`
  const remedy = option.choices === undefined || found.text === ''
    ? ''
    : didYouMean(found.text, option.choices)
  throw problem(
    found.origin === 'flag' ? 'E_USAGE' : 'E_CONFIG',
    `${found.place} ${was}, expected ${option.expected}${remedy}`,
  )
}

/** A password may be in it, though it does not belong there. */
function shownText(option: Option, text: string): string {
  return option.path ? text : addressShown(text)
}

function missing(option: Option): ObfeedError {
  return problem(
    'E_USAGE',
    `--${option.flag} is missing, expected ${option.expected}; give --${option.flag} ` +
      `${option.placeholder}, ${option.env} or "${option.fileKey}" in the file of --config`,
  )
}

function checkSasl(settings: Readonly<Record<string, SettingValue>>): void {
  const keys = ['kafkaUsername', 'kafkaPassword', 'kafkaMechanism'] as const
  const given = keys.filter((key) => settings[key] !== undefined)
  if (given.length === 0 || given.length === keys.length) return
  const name = (key: SettingKey): string => {
    const option = OPTIONS.find((candidate) => candidate.key === key)!
    return option.flag === undefined ? option.env : `--${option.flag} (${option.env})`
  }
  const absent = keys.filter((key) => settings[key] === undefined)
  throw problem(
    'E_CONFIG',
    `SASL was given ${given.map(name).join(' and ')} only, expected user name, password and ` +
      `mechanism; set ${absent.map(name).join(' and ')} too`,
  )
}

function unknownVariables(env: Readonly<Record<string, string | undefined>>): string[] {
  const known = OPTIONS.flatMap((option) =>
    option.secret ? [option.env, `${option.env}_FILE`] : [option.env]
  )
  return Object.keys(env)
    .filter((name) => name.startsWith('OBFEED_') && !OTHER_VARIABLES.test(name))
    .filter((name) => !known.includes(name))
    .sort()
    .map((name) => `${name} is set but no setting has this name${didYouMean(name, known)}`)
}

// -- the config file

function readConfig(
  sources: SettingsSources,
  env: Readonly<Record<string, string | undefined>>,
): Map<SettingKey, Found> {
  let file = sources.file
  if (file === undefined) {
    const named = sources.flags[CONFIG_FLAG] ?? env[CONFIG_ENV]
    if (typeof named !== 'string' || named === '') return new Map()
    file = { path: named, text: readNamedFile(named, 'a config file') }
  }
  return parseConfig(file.path, file.text)
}

/** Keys that begin with `//` are comments. */
function parseConfig(path: string, text: string): Map<SettingKey, Found> {
  const root = parseJson(text, path)
  if (root.kind !== 'object') {
    throw problem(
      'E_CONFIG',
      `${path}:${root.line}:${root.column}: was ${describeNode(root)}, expected an object ` +
        `{"exchange": "coinbase", ...}`,
    )
  }
  const problems: string[] = []
  const members = root.members.filter((member) => !member.key.startsWith('//'))
  for (const { again, first } of duplicateKeys(members)) {
    problems.push(
      `${path}:${again.line}:${again.column}: "${again.key}" stands a second time, first in line ` +
        `${first.line}; remove one`,
    )
  }
  const known = OPTIONS.map((option) => option.fileKey)
  const found = new Map<SettingKey, Found>()
  for (const member of members) {
    const option = OPTIONS.find((candidate) => candidate.fileKey === member.key)
    if (option === undefined) {
      const meant = didYouMean(member.key, known)
      problems.push(
        `${path}:${member.line}:${member.column}: "${member.key}" is no setting` +
          (meant || '; `obfeed run --help` lists them'),
      )
      continue
    }
    const { value } = member
    const place = `${path}:${value.line}:${value.column}: "${member.key}"`
    const written = textOf(option, value)
    if (written === undefined || written === '' || option.parse(written) === undefined) {
      const was = option.secret
        ? 'does not fit'
        : `was ${
          value.kind === 'string'
            ? JSON.stringify(shownText(option, value.value))
            : describeNode(value)
        }`
      const meant = written && option.choices ? didYouMean(written, option.choices) : ''
      problems.push(`${place} ${was}, expected ${option.expected}${meant}`)
      continue
    }
    const resolved = option.path && !isAbsolute(written) ? join(dirname(path), written) : written
    found.set(option.key, { text: resolved, origin: 'file', place })
  }
  if (problems.length > 0) throw problem('E_CONFIG', problems.join('\n'))
  return found
}

/** The node as the flag would have it; undefined when the type is not one the option takes. */
function textOf(option: Option, node: JsonNode): string | undefined {
  if (node.kind === 'object' || node.kind === 'null') return undefined
  if (!option.file.includes(node.kind)) return undefined
  if (node.kind === 'number') return node.text
  if (node.kind !== 'array') return String(node.value)
  const items = node.items.map((item) =>
    item.kind === 'string' ? item.value : item.kind === 'number' ? item.text : ''
  )
  return items.includes('') ? undefined : items.join(',')
}

// -- showing

/** A setting's value as a person reads it; secrets as `***`. */
export function showSetting(option: Option, settings: Settings): string {
  const value: SettingValue | undefined = settings[option.key]
  if (value === undefined) return '-'
  if (option.secret) return '***'
  if (typeof value === 'object') return value.length === 0 ? 'all' : value.join(',')
  if (option.key === 'depth' && value === 0) return 'full'
  if (option.key === 'workers' && value === 0) return 'auto'
  if (option.key === 'replicationFactor' && value === -1) return 'auto'
  if (option.placeholder === 'SECONDS') return `${Number(value) / 1000} s`
  // An address may carry a password: `https://user:password@host`.
  return option.placeholder === 'URL' ? addressShown(String(value)) : String(value)
}
