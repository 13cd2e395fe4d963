/** One request for metadata, asked again while that may help, and what is said when it does not. */
import { EXIT, ObfeedError } from '../core/errors.ts'
import { foreignError, foreignText } from '../core/foreign-text.ts'
import { readText, TooLarge } from './body.ts'
import { parseRetryAfter } from './retry-after.ts'

/** Waits before the second and third attempt: a network that is just coming up. */
const RETRY_DELAYS_MS = [250, 1000]

/** The JSON of an answer. @throws {ObfeedError} E_UNAVAILABLE, exit 69. */
export async function requestJson(
  exchange: string,
  url: string,
  timeoutMs: number,
  request: RequestInit = {},
): Promise<unknown> {
  for (let attempt = 0;; attempt++) {
    try {
      return await requestOnce(exchange, url, timeoutMs, request)
    } catch (error) {
      const delay = RETRY_DELAYS_MS[attempt]
      const again = error instanceof ObfeedError && !(error instanceof Refusal)
      if (!again || delay === undefined) throw error
      await new Promise((resolve) => setTimeout(resolve, error.retryAfterMs ?? delay))
    }
  }
}

/** Longest `Retry-After` that a start waits for. */
const RETRY_AFTER_MAX_MS = 5_000

async function requestOnce(
  exchange: string,
  url: string,
  timeoutMs: number,
  request: RequestInit,
): Promise<unknown> {
  const signal = AbortSignal.timeout(timeoutMs)
  let response: Response
  let body: string
  try {
    response = await fetch(url, {
      ...request,
      headers: { accept: 'application/json', 'user-agent': 'obfeed', ...request.headers },
      redirect: 'error',
      signal,
    })
    body = await readText(response)
  } catch (cause) {
    if (cause instanceof TooLarge) throw new Refusal(exchange, url, cause.message, cause)
    const found = signal.aborted ? `no answer within ${timeoutMs / 1000} s` : foreignError(cause)
    throw unavailable(exchange, url, found, cause)
  }
  if (!response.ok) {
    const geo = response.status === 403 || response.status === 451
    const start = foreignText(body.slice(0, 1000).replaceAll(/\s+/g, ' ').trim(), 200)
    const found = `HTTP ${response.status}${start === '' ? '' : ` ${start}`}` +
      (geo ? ' (the exchange may refuse this region)' : '')
    const lasting = response.status < 500 && response.status !== 408 && response.status !== 429
    const after = parseRetryAfter(response.headers.get('retry-after') ?? undefined, Date.now())
    if (lasting) throw new Refusal(exchange, url, found)
    throw unavailable(exchange, url, found, undefined, after)
  }
  try {
    return JSON.parse(body)
  } catch (cause) {
    throw new Refusal(exchange, url, `an answer that is not JSON: ${foreignText(body, 80)}`, cause)
  }
}

/** Asking again would give the same answer. */
class Refusal extends ObfeedError {
  constructor(exchange: string, url: string, found: string, cause?: unknown) {
    super('E_UNAVAILABLE', message(exchange, url, found), {
      scope: 'agent',
      exitCode: EXIT.unavailable,
      cause,
    })
  }
}

function message(exchange: string, url: string, found: string): string {
  return `market metadata of ${exchange} from ${url}: ${found}, expected the list of markets; ` +
    'check the network, a proxy (HTTPS_PROXY) or --rest-url'
}

export function unavailable(
  exchange: string,
  url: string,
  found: string,
  cause?: unknown,
  retryAfterMs?: number,
): ObfeedError {
  return new ObfeedError('E_UNAVAILABLE', message(exchange, url, found), {
    scope: 'agent',
    exitCode: EXIT.unavailable,
    cause,
    ...(retryAfterMs === undefined
      ? {}
      : { retryAfterMs: Math.min(retryAfterMs, RETRY_AFTER_MAX_MS) }),
  })
}
