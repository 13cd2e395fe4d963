/** HTTP GET with one deadline, a bounded answer, and no redirects. */
import { Buffer } from 'node:buffer'
import { request as httpRequest } from 'node:http'
import type { IncomingMessage } from 'node:http'
import { request as httpsRequest } from 'node:https'
import type { HttpResponse, Timer } from '../core/environment.ts'
import { foreignError } from '../core/foreign-text.ts'
import { BODY_BYTES_MAX } from './body.ts'
import { parseRetryAfter } from './retry-after.ts'

/** As `Environment.httpGet`. */
export function httpGet(
  url: string,
  timeoutMs: number,
  done: (response: HttpResponse) => void,
): Timer {
  let settled = false
  const request = url.startsWith('https:') ? httpsRequest : httpRequest
  const outgoing = request(url, { headers: { 'user-agent': 'obfeed', accept: 'application/json' } })
  const finish = (response: HttpResponse): void => {
    if (settled) return
    settled = true
    clearTimeout(deadline)
    outgoing.destroy()
    done(response)
  }
  // One deadline for the whole exchange: a peer that drips bytes must not hold the slot.
  const deadline = setTimeout(
    () => finish({ status: 0, body: `no answer within ${timeoutMs} ms` }),
    timeoutMs,
  )
  outgoing.on('error', (error) => finish({ status: 0, body: foreignError(error) }))
  outgoing.on('response', (incoming) => collect(incoming, finish))
  outgoing.end()
  return {
    cancel() {
      settled = true
      clearTimeout(deadline)
      outgoing.destroy()
    },
  }
}

function collect(incoming: IncomingMessage, finish: (response: HttpResponse) => void): void {
  const chunks: Uint8Array[] = []
  let bytes = 0
  incoming.on('data', (chunk: Uint8Array) => {
    bytes += chunk.length
    if (bytes > BODY_BYTES_MAX) {
      finish({ status: 0, body: `answer is larger than ${BODY_BYTES_MAX} bytes` })
      return
    }
    chunks.push(chunk)
  })
  incoming.on('end', () => {
    // `end` also follows a connection cut inside the body.
    if (!incoming.complete) {
      finish({ status: 0, body: 'answer was cut' })
      return
    }
    const retryAfterMs = parseRetryAfter(incoming.headers['retry-after'], Date.now())
    finish({
      status: incoming.statusCode ?? 0,
      body: Buffer.concat(chunks).toString('utf8'),
      ...(retryAfterMs === undefined ? {} : { retryAfterMs }),
    })
  })
  incoming.on('error', (error) => finish({ status: 0, body: foreignError(error) }))
  incoming.on('close', () => finish({ status: 0, body: 'answer was cut' }))
}
