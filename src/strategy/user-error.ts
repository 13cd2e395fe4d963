/** What a user's strategy did wrong, told with the user's own file and line. */
import { EXIT, ObfeedError } from '../core/errors.ts'

/** `file:///a/b.ts?v=2` and `/a/b.ts` are the same file. */
const FRAME = /(?:file:\/\/)?(\/[^\s()]+?)(?:\?[^:\s()]*)?:(\d+):(\d+)\)?$/

/** `path:line:column` of the innermost frame below `folder`; undefined when none is. */
export function placeOf(error: unknown, folder: string): string | undefined {
  if (!(error instanceof Error) || typeof error.stack !== 'string') return undefined
  const below = folder.endsWith('/') ? folder : `${folder}/`
  for (const line of error.stack.split('\n')) {
    const match = FRAME.exec(line.trim())
    if (match === null) continue
    const path = decodeURI(match[1]!)
    if (path.startsWith(below)) return `${path}:${match[2]}:${match[3]}`
  }
  return undefined
}

/** What was thrown, in one line. */
export function textOf(error: unknown): string {
  if (!(error instanceof Error)) return `threw ${String(error).slice(0, 200)}`
  const text = error.message.replaceAll(/\s+/g, ' ').slice(0, 500)
  return error.name === 'Error' || error instanceof ObfeedError ? text : `${error.name}: ${text}`
}

/** Exit 70: the strategy failed while it ran. */
export function failure(what: string, error: unknown, folder: string | undefined): ObfeedError {
  const place = folder === undefined ? undefined : placeOf(error, folder)
  return new ObfeedError(
    'E_STRATEGY',
    `${place === undefined ? '' : `${place}: `}${what}: ${textOf(error)}`,
    { scope: 'agent', exitCode: EXIT.software, cause: error },
  )
}

/** Exit 78: what the file says is no strategy. */
export function misshapen(path: string, problem: string): ObfeedError {
  return new ObfeedError('E_STRATEGY', `${path}: ${problem}`, {
    scope: 'agent',
    exitCode: EXIT.config,
  })
}
