/**
 * The one place that knows which runtime this is (Bun compiled, Bun, Deno) and what each needs to
 * start this same program once more, to name a process and to read what the kernel tells.
 */
import { execFileSync } from 'node:child_process'
import { accessSync, constants, readFileSync, statSync, writeFileSync } from 'node:fs'
import process from 'node:process'

export type Runtime = 'compiled' | 'bun' | 'deno'

/** A program and its arguments, ready for `spawn`. */
export interface Command {
  readonly file: string
  readonly args: readonly string[]
}

interface BunGlobal {
  readonly version: string
  readonly isStandaloneExecutable?: boolean
}

interface DenoGlobal {
  readonly version: { readonly deno: string }
}

const globals = globalThis as { readonly Bun?: BunGlobal; readonly Deno?: DenoGlobal }

export function runtime(): Runtime {
  if (globals.Deno !== undefined) return 'deno'
  const compiled = globals.Bun?.isStandaloneExecutable === true ||
    (process.argv[1] ?? '').startsWith('/$bunfs/')
  return compiled ? 'compiled' : 'bun'
}

/** `bun 1.4.5` or `deno 2.9.6`. */
export function runtimeVersion(): string {
  if (globals.Deno !== undefined) return `deno ${globals.Deno.version.deno}`
  return `bun ${globals.Bun?.version ?? 'unknown'}`
}

/** Flags `deno task start` grants; used when our own command line cannot be read. */
const DENO_FLAGS = [
  '--no-prompt',
  '--allow-net',
  '--allow-env',
  '--allow-read',
  '--allow-sys',
  '--allow-run',
]

/** Flags that belong to one process only: a debugger's port, a watcher, a profile. */
const PRIVATE_FLAG = /^--(inspect|watch|hot|cpu-prof|heap-prof)/

/** How to start this program again with other arguments. */
export function selfCommand(args: readonly string[]): Command {
  const kind = runtime()
  if (kind === 'compiled') return { file: ownExecutable(), args }
  const own = readSystemText(`/proc/${process.pid}/cmdline`)?.split('\0').slice(0, -1)
  return sourceCommand(kind, process.execPath, process.argv, own, args)
}

/**
 * Pure part of `selfCommand` for a run from source. `own` is the kernel's view of our command line:
 * what stands between the runtime and the main module there are the runtime's own flags
 * (permissions under Deno), which the new process needs too.
 */
export function sourceCommand(
  kind: 'bun' | 'deno',
  execPath: string,
  argv: readonly string[],
  own: readonly string[] | undefined,
  args: readonly string[],
): Command {
  const main = argv[1]
  const mainAt = own === undefined ? -1 : own.length - (argv.length - 2) - 1
  const flags = own !== undefined && mainAt >= 1
    ? own.slice(1, mainAt).filter((flag) => !PRIVATE_FLAG.test(flag))
    : kind === 'deno'
    ? ['run', ...DENO_FLAGS]
    : []
  return { file: execPath, args: [...flags, main, ...args] }
}

/**
 * Through /proc the very build that runs now is started, also after its file was replaced or
 * removed by an upgrade.
 */
function ownExecutable(): string {
  const link = `/proc/${process.pid}/exe`
  try {
    accessSync(link, constants.X_OK)
    if (mayBeFollowed()) return link
  } catch {
    // No /proc.
  }
  return process.execPath
}

/** What is asked of the system's C library: what no API of the runtimes gives. */
export interface SystemCalls {
  /** Takes the exit of the ended child `pid`; false when there is none to take. */
  reap(pid: number): boolean
  /** From now on the signal of this number does nothing to this process. */
  ignoreSignal(signal: number): void
}

interface ForeignFunctions {
  dlopen(path: string, symbols: object): {
    readonly symbols: {
      waitpid(pid: number, status: null, options: number): number
      signal(signal: number, handler: number): unknown
    }
  }
}

const LIBRARIES = ['libc.so.6', 'libc.musl-x86_64.so.1', 'libc.musl-aarch64.so.1', 'libc.so']
const WNOHANG = 1
const SIG_IGN = 1

/** Undefined where the runtime lets nobody call it (Deno without `--allow-ffi`). */
export function systemCalls(): SystemCalls | undefined {
  if (globals.Bun === undefined) return undefined
  for (const library of LIBRARIES) {
    try {
      const { dlopen } = process.getBuiltinModule('bun:ffi') as unknown as ForeignFunctions
      const { waitpid, signal } = dlopen(library, {
        waitpid: { args: ['i32', 'ptr', 'i32'], returns: 'i32' },
        signal: { args: ['i32', 'ptr'], returns: 'ptr' },
      }).symbols
      return {
        reap: (pid) => waitpid(pid, null, WNOHANG) === pid,
        ignoreSignal: (number) => void signal(number, SIG_IGN),
      }
    } catch {
      // Not the library of this system.
    }
  }
  return undefined
}

/**
 * Whether `taskset` may follow our link too. Not into a program that may be run and not read, whose
 * entry in /proc belongs to root, nor into one with capabilities that `taskset` has not. The path is
 * as good then, as long as the same file is there: a worker of another build is sent away when it
 * greets.
 */
function mayBeFollowed(): boolean {
  const user = process.geteuid?.()
  if (statSync(`/proc/${process.pid}`).uid !== user) return false
  return user === 0 || /^CapPrm:\s*0+$/m.test(readFileSync('/proc/self/status', 'utf8'))
}

/** The same command on one CPU only. */
export function pinnedCommand(command: Command, cpu: number, taskset: string): Command {
  return { file: taskset, args: ['-c', `${cpu}`, command.file, ...command.args] }
}

/** Tells two builds apart (an upgrade while we run); the same for every process of one agent. */
export function buildId(): string {
  if (runtime() !== 'compiled') return runtimeVersion()
  try {
    const { dev, ino, size, mtimeMs } = statSync('/proc/self/exe')
    return `${dev}-${ino}-${size}-${Math.trunc(mtimeMs)}`
  } catch {
    return 'unknown'
  }
}

/**
 * The environment for a worker: without what would change the runtime underneath it, make it take
 * our own IPC channel for its, or let it speak to our service manager.
 */
export function workerEnvironment(
  environment: Readonly<Record<string, string | undefined>>,
): Record<string, string> {
  const cleaned: Record<string, string> = {}
  for (const [name, value] of Object.entries(environment)) {
    if (value === undefined) continue
    if (/^(BUN_|NODE_OPTIONS$|NODE_CHANNEL_|NODE_UNIQUE_ID$)/.test(name)) continue
    if (/^(NOTIFY_SOCKET$|WATCHDOG_|LISTEN_)/.test(name)) continue
    cleaned[name] = value
  }
  return cleaned
}

/** Names the process for `top` and `pgrep` (15 bytes at most). False where that is not permitted. */
export function setProcessName(name: string): boolean {
  try {
    writeFileSync('/proc/self/comm', name.slice(0, 15))
    return true
  } catch {
    return false
  }
}

/**
 * A file of /proc or /sys. Deno reads those only with all permissions; with `--allow-run` a child
 * reads them for us (affinity and cgroup are inherited, so `/proc/self` means the same there).
 */
export function readSystemText(path: string): string | undefined {
  try {
    return readFileSync(path, 'utf8')
  } catch {
    if (runtime() !== 'deno') return undefined
  }
  try {
    return execFileSync('/bin/cat', [path], {
      encoding: 'utf8',
      stdio: ['ignore', 'pipe', 'ignore'],
    })
  } catch {
    return undefined
  }
}
