/** The status server: /livez, /readyz, /status and /metrics for one agent, from its view. */
import { createServer, type ServerResponse } from 'node:http'
import type { Server } from 'node:net'
import { withoutCredentials } from '../core/credentials.ts'
import { EXPOSITION_CONTENT_TYPE } from '../telemetry/metrics.ts'
import { boundedListener } from './connections.ts'
import { type AgentView, notTraded, readiness, type WorkerView } from './view.ts'

/** Asked at each request; must not block. */
export interface StatusSource {
  view(): AgentView
  metrics(): string
  /** Plain data put at the head of /status. */
  about(): Readonly<Record<string, unknown>>
}

export interface StatusServer {
  /** The address it listens on, `127.0.0.1:9469`. */
  readonly address: string
  close(): Promise<void>
}

/** `host:port`, `[::1]:9469` or `:9469` (all addresses). Undefined when it is none of them. */
export function parseAddress(text: string): { host: string; port: number } | undefined {
  const match = /^(?:\[([^\]]+)\]|([^:]*)):(\d{1,5})$/.exec(text)
  if (match === null || Number(match[3]) > 65535) return undefined
  return { host: match[1] ?? (match[2] === '' ? '::' : match[2]), port: Number(match[3]) }
}

/** A scraper keeps its connection for a minute; whoever asks slowly is not waited for. */
const LIMITS = { connections: 64, requestMs: 5_000, answerMs: 30_000, idleMs: 65_000 }

/** Rejects with the system's error when the address cannot be listened on. */
export function startStatusServer(address: string, source: StatusSource): Promise<StatusServer> {
  const parsed = parseAddress(address)
  if (parsed === undefined) {
    return Promise.reject(new Error(`expected HOST:PORT, found ${JSON.stringify(address)}`))
  }
  const http = createServer((request, response) => {
    answer(source, request.method ?? 'GET', request.url ?? '/', response)
  })
  http.keepAliveTimeout = LIMITS.idleMs
  const server = boundedListener(http, LIMITS)
  return new Promise((resolve, reject) => {
    server.once('error', reject)
    server.listen(parsed.port, parsed.host, () => {
      server.removeListener('error', reject)
      server.on('error', () => {})
      resolve({ address: addressOf(server, address), close: () => close(server) })
    })
  })
}

function addressOf(server: Server, asked: string): string {
  const bound = server.address()
  if (bound === null || typeof bound === 'string') return asked
  return bound.family === 'IPv6'
    ? `[${bound.address}]:${bound.port}`
    : `${bound.address}:${bound.port}`
}

function close(server: Server): Promise<void> {
  return new Promise((resolve) => server.close(() => resolve()))
}

const JSON_TYPE = 'application/json; charset=utf-8'
/** Only to read paths with. */
const BASE = 'http://obfeed'
const TEXT_TYPE = 'text/plain; charset=utf-8'

function answer(source: StatusSource, method: string, url: string, response: ServerResponse): void {
  if (method !== 'GET' && method !== 'HEAD') {
    return send(response, 405, TEXT_TYPE, 'only GET and HEAD\n')
  }
  if (!url.startsWith('/') || !URL.canParse(url, BASE)) {
    return send(response, 400, TEXT_TYPE, 'expected a path\n')
  }
  const { pathname, searchParams } = new URL(url, BASE)
  switch (pathname) {
    case '/livez':
      return send(response, 200, TEXT_TYPE, 'ok\n')
    case '/readyz': {
      const view = source.view()
      return sendReadiness(response, view, searchParams.has('verbose'))
    }
    case '/status':
      return send(
        response,
        200,
        JSON_TYPE,
        withoutCredentials(JSON.stringify(statusOf(source))) + '\n',
      )
    case '/metrics':
      return send(response, 200, EXPOSITION_CONTENT_TYPE, source.metrics())
    default:
      return send(response, 404, TEXT_TYPE, 'there is /livez, /readyz, /status and /metrics\n')
  }
}

function sendReadiness(response: ServerResponse, view: AgentView, verbose: boolean): void {
  const checks = readiness(view)
  const failed = checks.filter((check) => !check.ok)
  const status = failed.length === 0 ? 200 : 503
  if (verbose) {
    const lines = checks.map(({ ok, name, detail }) => `[${ok ? '+' : '-'}]${name} ${detail}\n`)
    return send(response, status, TEXT_TYPE, lines.join('') + (status === 200 ? 'ready\n' : ''))
  }
  const reasons = failed.map(({ name, detail }) => `${name}: ${detail}`)
  const resting = notTraded(view)
  const body = {
    ready: status === 200,
    reasons,
    ...(resting.length === 0 ? {} : { notTraded: resting }),
  }
  send(response, status, JSON_TYPE, JSON.stringify(body) + '\n')
}

function statusOf(source: StatusSource): unknown {
  const view = source.view()
  const checks = readiness(view)
  return {
    ...source.about(),
    exchange: view.exchange,
    sink: view.sink,
    ...(view.sink === 'kafka' ? { topic: view.topic } : {}),
    startedAt: new Date(view.startedMs).toISOString(),
    ready: checks.every((check) => check.ok),
    reasons: checks.filter((check) => !check.ok).map(({ name, detail }) => `${name}: ${detail}`),
    workers: view.workers.map(statusOfWorker),
  }
}

function statusOfWorker(worker: WorkerView): unknown {
  const { stats, totals } = worker
  return {
    id: worker.id,
    cpu: worker.cpu ?? null,
    pid: worker.pid ?? null,
    state: worker.state,
    startedAt: new Date(worker.startedMs).toISOString(),
    heartbeatAt: worker.heartbeatMs === 0 ? null : new Date(worker.heartbeatMs).toISOString(),
    restarts: worker.restarts,
    rssBytes: stats?.rssBytes ?? null,
    loopLagMs: stats?.loopLagMs ?? null,
    cpuSeconds: totals.cpuSeconds,
    frames: totals.frames,
    bytes: totals.bytes,
    connections: stats?.feed.connections ?? 0,
    connectionsOpen: stats?.feed.connectionsOpen ?? 0,
    sink: {
      connected: stats?.sink.connected ?? false,
      queuedRecords: stats?.sink.queuedRecords ?? 0,
      queuedBytes: stats?.sink.queuedBytes ?? 0,
      sentRecords: totals.sentRecords,
      sentBytes: totals.sentBytes,
      droppedRecords: totals.droppedRecords,
      errors: totals.sinkErrors,
      retries: totals.sinkRetries,
    },
    books: stats?.feed.books ?? [],
  }
}

function send(response: ServerResponse, status: number, type: string, body: string): void {
  const bytes = new TextEncoder().encode(body)
  response.writeHead(status, {
    'content-type': type,
    'content-length': bytes.length,
    'cache-control': 'no-store',
  })
  response.end(response.req.method === 'HEAD' ? undefined : bytes)
}
