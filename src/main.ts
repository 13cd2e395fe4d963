/** The entry: a worker goes its own short way, everything else through the command tree. */
import process from 'node:process'
import { withoutCredentials } from './core/credentials.ts'

// Loaded on demand, each alone: a worker must be up before the parent has found its markets.
if (process.argv[2] === '__worker') {
  import('./agent/worker.ts').then(({ runWorker }) => runWorker()).catch(fail)
} else {
  import('./commands/root.ts').then(({ main }) => main(process.argv.slice(2))).catch(fail)
}

function fail(error: unknown): void {
  const text = error instanceof Error ? error.stack ?? error.message : String(error)
  process.stderr.write(`obfeed: this is a bug, please report it\n${withoutCredentials(text)}\n`)
  process.exitCode = 1
}
