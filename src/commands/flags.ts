/** Flags on the command line: citty's declarations from the settings table, and the strictness citty lacks. */
import process from 'node:process'
import type { ArgDef, ArgsDef } from 'citty'
import { EXIT, ObfeedError } from '../core/errors.ts'
import { didYouMean } from '../config/nearest.ts'
import type { Option, SettingKey } from '../config/options.ts'
import { CONFIG_ENV, CONFIG_FLAG, OPTIONS } from '../config/options.ts'

/** All settings of `run`, in the order of its help. */
export const RUN_FLAGS: readonly Option[] = OPTIONS.filter((option) => option.flag !== undefined)

/** citty's declaration of these settings, and of `--config`. No defaults: `resolveSettings` knows them. */
export function settingArgs(keys?: readonly SettingKey[]): ArgsDef {
  const args: ArgsDef = {}
  for (const option of RUN_FLAGS) {
    if (keys !== undefined && !keys.includes(option.key)) continue
    const { description, placeholder } = option
    args[option.flag!] = option.type === 'boolean'
      ? { type: 'boolean', description }
      : { type: 'string', description, valueHint: placeholder }
  }
  args[CONFIG_FLAG] = {
    type: 'string',
    description: 'JSON file with settings; flags and variables win over it',
    valueHint: 'FILE',
  }
  return args
}

/** The variable that does the same as the flag, for help. */
export function variableOf(flag: string): string | undefined {
  if (flag === CONFIG_FLAG) return CONFIG_ENV
  return RUN_FLAGS.find((option) => option.flag === flag)?.env
}

/** A command's answer. Whole on a pipe as long as the process ends by itself. */
export function print(text: string): void {
  process.stdout.write(`${text}\n`)
}

export function usageError(message: string): ObfeedError {
  return new ObfeedError('E_USAGE', message, { scope: 'agent', exitCode: EXIT.usage })
}

/**
 * A whole number from a command's own flag.
 *
 * @throws {ObfeedError} exit 64 when it is none, or out of range.
 */
export function integerFlag(
  name: string,
  value: string | undefined,
  range: { readonly min: number; readonly max: number },
): number | undefined {
  if (value === undefined) return undefined
  const number = /^-?\d{1,15}$/.test(value) ? Number(value) : NaN
  if (number >= range.min && number <= range.max) return number
  throw usageError(
    `--${name} was "${value}", expected an integer from ${range.min} to ${range.max}`,
  )
}

/**
 * The same for a number that may have decimals.
 *
 * @throws {ObfeedError} exit 64 when it is none, or out of range.
 */
export function numberFlag(
  name: string,
  value: string | undefined,
  range: { readonly min: number; readonly max: number },
): number | undefined {
  if (value === undefined) return undefined
  const number = /^-?\d{1,15}(\.\d{1,15})?$/.test(value) ? Number(value) : NaN
  if (number >= range.min && number <= range.max) return number
  throw usageError(`--${name} was "${value}", expected a number from ${range.min} to ${range.max}`)
}

/**
 * Holds `rawArgs` against a command's declarations and returns them in the one form that citty
 * reads without surprises: `--name=value`, `--name`, `--no-name`, positionals last.
 *
 * @throws {ObfeedError} exit 64: unknown flag, missing, empty or unexpected value, a flag given
 * twice, a value outside an enumeration, too many words, a required flag or word missing.
 */
export function strictArgs(rawArgs: readonly string[], args: ArgsDef, command: string): string[] {
  const flags = new Map<string, { readonly name: string; readonly definition: ArgDef }>()
  const positionals: { readonly name: string; readonly definition: ArgDef }[] = []
  for (const [name, definition] of Object.entries(args)) {
    if (definition.type === 'positional') {
      positionals.push({ name, definition })
      continue
    }
    flags.set(`--${name}`, { name, definition })
    const alias = 'alias' in definition ? definition.alias : undefined
    for (const other of typeof alias === 'string' ? [alias] : alias ?? []) {
      flags.set(other.length === 1 ? `-${other}` : `--${other}`, { name, definition })
    }
  }
  const seen = new Set<string>()
  const words: string[] = []
  const normal: string[] = []
  for (let i = 0; i < rawArgs.length; i++) {
    const raw = rawArgs[i]!
    if (raw === '--') {
      words.push(...rawArgs.slice(i + 1))
      break
    }
    if (!raw.startsWith('-') || raw === '-') {
      words.push(raw)
      continue
    }
    const equals = raw.indexOf('=')
    const written = equals < 0 ? raw : raw.slice(0, equals)
    const inline = equals < 0 ? undefined : raw.slice(equals + 1)
    const negated = negatedFlag(written, flags)
    const flag = negated ?? flags.get(written)
    if (flag === undefined) throw unknownFlag(written, flags, command)
    const { name, definition } = flag
    if (seen.has(name)) throw usageError(`${written} was given twice, expected once; remove one`)
    seen.add(name)
    if (definition.type === 'boolean') {
      if (inline !== undefined) {
        throw usageError(
          `${written} was given the value "${inline}", expected none; write ` +
            `--${name} or --no-${name}`,
        )
      }
      normal.push(negated === undefined ? `--${name}` : `--no-${name}`)
      continue
    }
    const value = inline ?? (looksLikeFlag(rawArgs[i + 1]) ? undefined : rawArgs[++i])
    const expected = placeholderOf(definition)
    if (value === undefined) {
      throw usageError(`${written} has no value, expected ${written} ${expected}`)
    }
    if (value === '') throw usageError(`${written} was empty, expected ${written} ${expected}`)
    if (definition.type === 'enum' && !definition.options?.includes(value)) {
      const options = definition.options ?? []
      throw usageError(
        `${written} was "${value}", expected one of ${options.join(', ')}` +
          didYouMean(value, options),
      )
    }
    normal.push(`--${name}=${value}`)
  }
  if (words.length > positionals.length) {
    const word = words[positionals.length]!
    const meant = didYouMean(word, [...flags.values()].map(({ name }) => name), '--')
    throw usageError(`"${word}" was not expected after \`${command}\`${meant || '; remove it'}`)
  }
  for (const { name, definition } of positionals.slice(words.length)) {
    if (definition.required === false || definition.default !== undefined) continue
    throw usageError(`<${name}> is missing, expected \`${command} <${name}>\``)
  }
  for (const { name, definition } of flags.values()) {
    if (definition.required !== true || seen.has(name)) continue
    throw usageError(`--${name} is missing, expected --${name} ${placeholderOf(definition)}`)
  }
  return words.length === 0 ? normal : [...normal, '--', ...words]
}

/** Stands for a flag's value in help and messages. */
export function placeholderOf(definition: ArgDef): string {
  const options = definition.type === 'enum' ? definition.options : undefined
  return definition.valueHint ?? options?.join('|') ?? 'VALUE'
}

/** A number may begin with a minus, a flag's value otherwise not: write `--flag=-x` then. */
function looksLikeFlag(word: string | undefined): boolean {
  return word === undefined || (/^-./.test(word) && !/^-\.?\d/.test(word))
}

type Flags = ReadonlyMap<string, { readonly name: string; readonly definition: ArgDef }>

function negatedFlag(
  written: string,
  flags: Flags,
): { readonly name: string; readonly definition: ArgDef } | undefined {
  if (!written.startsWith('--no-')) return undefined
  const flag = flags.get(`--${written.slice('--no-'.length)}`)
  return flag?.definition.type === 'boolean' ? flag : undefined
}

function unknownFlag(written: string, flags: Flags, command: string): ObfeedError {
  const known = [...flags].flatMap(([flag, { definition }]) =>
    definition.type === 'boolean' && flag.startsWith('--')
      ? [flag, `--no-${flag.slice(2)}`]
      : [flag]
  )
  const secret = OPTIONS.find((option) =>
    option.secret &&
    `--${option.env.slice('OBFEED_'.length).toLowerCase().replaceAll('_', '-')}` ===
      written
  )
  if (secret !== undefined) {
    return usageError(
      `${written} is no flag: a secret on the command line is visible to everyone ` +
        `on this host; set ${secret.env} or ${secret.env}_FILE`,
    )
  }
  const meant = didYouMean(written, [...known, '--help'])
  return usageError(`unknown flag ${written}${meant || `; \`${command} --help\` lists them`}`)
}
