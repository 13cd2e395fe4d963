/** The command tree: finds the command, checks its words, runs it, and maps errors to exit codes. */
import process from 'node:process'
import type { ArgsDef, CommandDef, CommandMeta } from 'citty'
import { runCommand } from 'citty'
import { withoutCredentials } from '../core/credentials.ts'
import { EXIT, EXIT_TEXT, ObfeedError } from '../core/errors.ts'
import { foreignError } from '../core/foreign-text.ts'
import { didYouMean } from '../config/nearest.ts'
import { print, settingArgs, strictArgs, usageError } from './flags.ts'
import { mayColour, renderHelp } from './help.ts'

interface Entry {
  readonly description: string
  readonly examples: readonly string[]
  readonly exitCodes: readonly number[]
  /** A command is loaded when it is asked for: starting one costs nothing of the others. */
  readonly load: () => Promise<CommandDef>
}

/**
 * A command of any arguments as one of unknown arguments. citty's types tie a command to its own;
 * it is only ever called with what `runCommand` parsed by the same declarations.
 */
function untyped<Args extends ArgsDef>(command: CommandDef<Args>): CommandDef {
  return command as unknown as CommandDef
}

const commands: Readonly<Record<string, Entry>> = {
  run: {
    description: 'Streams proven order books to Kafka (the default command)',
    examples: [
      'obfeed --exchange coinbase --map coinbase_config.json',
      'obfeed --exchange coinbase --map coinbase_config.json --brokers kafka-1:9092,kafka-2:9092',
      'obfeed --exchange coinbase --map coinbase_config.json --sink stdout --depth 10',
    ],
    exitCodes: [0, 1, 64, 66, 69, 70, 71, 73, 75, 77, 78, 124, 130, 143],
    load: async () => untyped((await import('./run.ts')).default),
  },
  plan: {
    description: 'Shows which worker would serve what, and changes nothing',
    examples: ['obfeed plan --exchange coinbase --map coinbase_config.json --workers 4'],
    exitCodes: [0, 1, 64, 66, 69, 71, 73, 77, 78],
    load: async () => untyped((await import('./plan.ts')).default),
  },
  validate: {
    description: 'Checks settings and partition map without starting anything',
    examples: [
      'obfeed validate --exchange coinbase --map coinbase_config.json',
      'obfeed validate --config obfeed.json --offline --print-effective',
    ],
    exitCodes: [0, 1, 64, 66, 69, 73, 77, 78],
    load: async () => untyped((await import('./validate.ts')).default),
  },
  map: {
    description: "Writes a partition map from the exchange's markets, or brings one up to date",
    examples: [
      'obfeed map --exchange coinbase --quote USD --top 50 --map coinbase_config.json',
      'obfeed map --exchange binance --quote USDT,USDC --partitions 32 --dry-run',
    ],
    exitCodes: [0, 1, 64, 66, 69, 73, 78],
    load: async () => untyped((await import('./map.ts')).default),
  },
  list: {
    description: 'Lists the exchanges and what is proven of their books',
    examples: ['obfeed list exchanges', 'obfeed list exchanges --native'],
    exitCodes: [0, 1, 64, 73],
    load: async () => untyped((await import('./list.ts')).default),
  },
  tap: {
    description: 'Reads the topic back and shows or verifies its books',
    examples: [
      'obfeed tap --exchange coinbase --map coinbase_config.json --symbol ETH/USD',
      'obfeed tap --exchange coinbase --map coinbase_config.json --verify',
    ],
    exitCodes: [0, 1, 64, 65, 66, 69, 73, 77, 78],
    load: async () => untyped((await import('./tap.ts')).default),
  },
  simulate: {
    description: 'Serves a protocol-faithful exchange on loopback',
    examples: ['obfeed simulate coinbase --port 9470 --symbols BTC/USD,ETH/USD --rate 200'],
    exitCodes: [0, 1, 64, 69, 73],
    load: async () => untyped((await import('./simulate.ts')).default),
  },
  bench: {
    description: 'Measures what this host can carry',
    examples: ['obfeed bench', 'obfeed bench --json'],
    exitCodes: [0, 1, 64, 73],
    load: async () => untyped((await import('./bench.ts')).default),
  },
  version: {
    description: 'Shows version, commit and libraries',
    examples: ['obfeed version', 'obfeed version --json'],
    exitCodes: [0, 1, 64, 73],
    load: async () => untyped((await import('./version.ts')).default),
  },
}

/** Splits off the command: the first word, `run` when there is none. */
function chooseCommand(argv: readonly string[]): { name: string; rest: readonly string[] } {
  const first = argv[0]
  if (first === undefined || first.startsWith('-')) {
    // `obfeed --depth 5 plan`: say it instead of taking "plan" for a stray word.
    const late = argv.find((word, i) =>
      Object.hasOwn(commands, word) && !(argv[i - 1] ?? '').startsWith('--')
    )
    if (late !== undefined) {
      throw usageError(
        `the command "${late}" stands after flags, expected it first; write \`obfeed ${late} ...\``,
      )
    }
    return { name: 'run', rest: argv }
  }
  if (Object.hasOwn(commands, first)) return { name: first, rest: argv.slice(1) }
  const meant = didYouMean(first, Object.keys(commands))
  throw usageError(`unknown command "${first}"${meant || '; `obfeed --help` lists them'}`)
}

function asksForHelp(words: readonly string[]): boolean {
  const end = words.indexOf('--')
  return (end < 0 ? words : words.slice(0, end)).some((word) => word === '--help' || word === '-h')
}

async function resolved<Value>(
  value: Value | Promise<Value> | (() => Value) | (() => Promise<Value>) | undefined,
): Promise<Value | undefined> {
  return value instanceof Function ? await value() : await value
}

async function dispatch(argv: readonly string[]): Promise<void> {
  if (argv.length === 1 && (argv[0] === '--version' || argv[0] === '-v')) {
    argv = ['version']
  }
  const { name, rest } = chooseCommand(argv)
  const entry = commands[name]!
  // `run` has its own ending; its help has not.
  if (name !== 'run' || asksForHelp(rest)) endWithStdout()
  if (asksForHelp(rest) && argv[0] !== name) {
    print(rootHelp())
    return
  }
  const command = await entry.load()
  const args: ArgsDef = (await resolved<ArgsDef>(command.args)) ?? {}
  if (asksForHelp(rest)) {
    const meta = await resolved<CommandMeta>(command.meta)
    const page = {
      ...entry,
      command: `obfeed ${name}`,
      description: meta?.description ?? entry.description,
      args,
    }
    print(renderHelp(page, mayColour()))
    return
  }
  await runCommand(command, { rawArgs: strictArgs(rest, args, `obfeed ${name}`) })
}

/** The first page needs no command to be loaded. */
function rootHelp(): string {
  const list = Object.fromEntries(
    Object.entries(commands).map(([name, { description }]) => [name, description]),
  )
  return renderHelp({
    command: 'obfeed',
    description: 'Streams provably correct order books of crypto exchanges to Kafka.\n' +
      'Without a command `run` is meant; `obfeed <command> --help` tells of the others.',
    args: { ...settingArgs(), version: { type: 'boolean', alias: 'v', description: 'version' } },
    examples: commands['run']!.examples,
    exitCodes: Object.keys(EXIT_TEXT).map(Number),
    commands: list,
  }, mayColour())
}

/** `obfeed tap | head`: when the reader has had enough, that is success; a full disk is not. */
function endWithStdout(): void {
  process.stdout.on('error', (error: Error & { code?: string }) => {
    if (error.code === 'EPIPE') process.exit(EXIT.ok)
    complain(`stdout cannot be written (${foreignError(error)}); expected a file or pipe with room`)
    process.exit(EXIT.cannotCreate)
  })
}

/** On stderr; when that cannot be written either, the exit code says it all. */
function complain(text: string): void {
  process.stderr.on('error', () => {})
  process.stderr.write(`obfeed: ${text}\n`)
}

/** How long a command that failed may take to end by itself. */
const END_WITHIN_MS = 2000

/** Never rejects. Sets the exit code and lets the process end by itself, so that output is whole. */
export async function main(argv: readonly string[]): Promise<void> {
  try {
    await dispatch(argv)
  } catch (error) {
    if (error instanceof ObfeedError) {
      complain(error.message)
      process.exitCode = error.exitCode
    } else {
      const text = error instanceof Error ? error.stack ?? error.message : String(error)
      complain(`this is a bug, please report it\n${withoutCredentials(text)}`)
      process.exitCode = EXIT.uncaught
    }
    // A forgotten socket must not keep a failed command alive.
    setTimeout(() => process.exit(), END_WITHIN_MS).unref()
  }
}
