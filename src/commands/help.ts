/** What `--help` prints: plain text, from the same declarations that parse the command line. */
import process from 'node:process'
import type { ArgsDef } from 'citty'
import { EXIT_TEXT } from '../core/errors.ts'
import { OPTIONS } from '../config/options.ts'
import { placeholderOf, variableOf } from './flags.ts'

const WIDTH = 100

export interface HelpPage {
  /** `obfeed plan`. */
  readonly command: string
  readonly description: string
  readonly args: ArgsDef
  readonly examples: readonly string[]
  readonly exitCodes: readonly number[]
  /** Name -> description, on the first page only. */
  readonly commands?: Readonly<Record<string, string>>
}

/** Colour only on a terminal whose user did not ask for none. */
export function mayColour(): boolean {
  const { NO_COLOR, TERM } = process.env
  return process.stdout.isTTY === true && !NO_COLOR && TERM !== 'dumb'
}

export function renderHelp(page: HelpPage, colour: boolean): string {
  const title = (text: string): string => colour ? `\x1b[1m${text}\x1b[0m` : text
  const positionals = Object.entries(page.args)
    .filter(([, definition]) => definition.type === 'positional')
    .map(([name, { required }]) => required === false ? ` [${name}]` : ` <${name}>`)
  const subject = page.commands === undefined ? page.command : `${page.command} [command]`
  const parts = [
    page.description,
    `${title('Usage:')} ${subject} [flags]${positionals.join('')}`,
  ]
  if (page.commands !== undefined) {
    parts.push(`${title('Commands:')}\n${columns(Object.entries(page.commands))}`)
  }
  const words = Object.entries(page.args)
    .filter(([, { type }]) => type === 'positional')
    .map(([name, { description }]): Row => [name, description ?? ''])
  if (words.length > 0) parts.push(`${title('Arguments:')}\n${columns(words)}`)
  parts.push(`${title('Flags:')}\n${columns(flagRows(page.args))}`)
  const twins = Object.entries(page.args).some(([flag, { type }]) =>
    type !== 'positional' && variableOf(flag) !== undefined
  )
  if (twins) {
    parts.push(
      'Each flag has the variable in brackets as its twin. Precedence: flag, variable, file of\n' +
        '--config (keys in camelCase; obfeed.json is read only when --config names it), default.',
    )
  }
  const secrets = OPTIONS.filter((option) => option.secret)
  if (secrets.length > 0 && page.args['kafka-username'] !== undefined) {
    const rows = secrets.map((option): Row => [option.env, option.description])
    parts.push(`${title('Variables without a flag:')}\n${columns(rows)}`)
  }
  parts.push(`${title('Examples:')}\n${page.examples.map((line) => `  ${line}`).join('\n')}`)
  const codes = page.exitCodes.map((code): Row => [String(code), EXIT_TEXT[code] ?? ''])
  parts.push(`${title('Exit codes:')}\n${columns(codes)}`)
  return parts.join('\n\n')
}

type Row = readonly [left: string, right: string]

function flagRows(args: ArgsDef): Row[] {
  const rows: Row[] = []
  for (const [name, definition] of Object.entries(args)) {
    if (definition.type === 'positional') continue
    const option = OPTIONS.find((candidate) => candidate.flag === name)
    const preset = option?.default ?? definition.default
    const alias = 'alias' in definition ? [definition.alias ?? []].flat() : []
    const short = alias.filter((other) => other.length === 1).map((other) => `-${other}, `)
    const value = definition.type === 'boolean' ? '' : ` ${placeholderOf(definition)}`
    // A switch that is on is only ever turned off.
    const on = definition.type === 'boolean' && String(preset) === 'true'
    const left = `${short.join('')}--${on ? `[no-]${name}` : name}${value}`
    const notes = [
      ...(preset === undefined || (definition.type === 'boolean' && !on)
        ? []
        : [`default ${on ? 'on' : preset}`]),
      ...(variableOf(name) === undefined ? [] : [variableOf(name)!]),
    ]
    const note = notes.length > 0 ? ` [${notes.join(', ')}]` : ''
    rows.push([left, `${definition.description ?? ''}${note}`])
  }
  rows.push(['-h, --help', 'this page'])
  return rows
}

/** Two columns, the right one wrapped. */
function columns(rows: readonly Row[]): string {
  const left = Math.max(...rows.map(([name]) => name.length)) + 4
  return rows.map(([name, text]) => {
    const lines = ['']
    for (const word of text.split(' ')) {
      const line = lines[lines.length - 1]!
      if (line !== '' && left + line.length + 1 + word.length > WIDTH) lines.push(word)
      else lines[lines.length - 1] = line === '' ? word : `${line} ${word}`
    }
    return `  ${name.padEnd(left - 2)}${lines.join(`\n${' '.repeat(left)}`)}`
  }).join('\n')
}
