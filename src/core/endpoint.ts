/** Pointing an exchange's own address at another host. Pure. */
import { addressShown } from './credentials.ts'
import { EXIT, ObfeedError } from './errors.ts'

const WEB_SOCKET = new Set(['ws:', 'wss:'])
const HTTP = new Set(['http:', 'https:'])

/**
 * `url` with scheme, host and port of `override`, and the path of `override` put in front; path and
 * query of `url` stay. Without an override `url` comes back as it is.
 *
 * @throws ObfeedError E_CONFIG when `override` is not an absolute URL of the same kind
 * (`ws`/`wss` or `http`/`https`) or carries a query or fragment.
 */
export function overrideEndpoint(url: string, override: string | undefined): string {
  if (override === undefined) return url
  const own = new URL(url)
  const kind = WEB_SOCKET.has(own.protocol) ? WEB_SOCKET : HTTP
  const expected = kind === WEB_SOCKET ? 'ws://HOST:PORT/PATH' : 'http://HOST:PORT/PATH'
  const other = parse(override, expected)
  if (!kind.has(other.protocol)) throw wrong(override, `its scheme is ${other.protocol}`, expected)
  if (other.search !== '' || other.hash !== '') {
    throw wrong(override, 'it carries a query or fragment', expected)
  }
  const prefix = other.pathname.replace(/\/+$/, '')
  const path = own.pathname === '/' && prefix !== '' ? '' : own.pathname
  const user = other.username === ''
    ? ''
    : `${other.username}${other.password === '' ? '' : `:${other.password}`}@`
  return `${other.protocol}//${user}${other.host}${prefix}${path}${own.search}`
}

function parse(override: string, expected: string): URL {
  let parsed: URL
  try {
    parsed = new URL(override)
  } catch {
    throw wrong(override, 'it is not an absolute URL', expected)
  }
  // `localhost:9000` parses as scheme `localhost:` without a host.
  if (parsed.host === '') throw wrong(override, 'it names no host', expected)
  return parsed
}

function wrong(override: string, found: string, expected: string): ObfeedError {
  return new ObfeedError(
    'E_CONFIG',
    `endpoint "${addressShown(override)}" cannot be used: ${found}; expected ${expected}`,
    { scope: 'agent', exitCode: EXIT.config },
  )
}
