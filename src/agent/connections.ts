/** Bounds what clients of an HTTP server hold: each connection is a descriptor a worker may need. */
import type { Server as HttpServer } from 'node:http'
import { createServer, type Server, type Socket } from 'node:net'

export interface ConnectionLimits {
  readonly connections: number
  /** ms from its beginning, or its last answer, to the next request when that has begun. */
  readonly requestMs: number
  /** ms for the answer to be taken. */
  readonly answerMs: number
  /** ms without anything between two requests. */
  readonly idleMs: number
}

interface Held {
  sinceMs: number
  /** Read of it when its last answer was out. */
  bytesRead: number
  isAnswered: boolean
}

const LOOK_MS = 500

/**
 * Listens for an HTTP server that does not listen itself: it would not know of a connection before
 * something was said on it. Of more connections than there may be the one that was idle longest
 * makes room; where all are being answered, the oldest.
 */
export function boundedListener(server: HttpServer, limits: ConnectionLimits): Server {
  /** In the order of their last answer, or of their beginning: the longest idle first. */
  const idle = new Map<Socket, Held>()
  const busy = new Map<Socket, Held>()
  const drop = (socket: Socket): void => {
    idle.delete(socket)
    busy.delete(socket)
    socket.destroy()
  }
  const listener = createServer((socket) => {
    socket.on('error', () => {})
    socket.once('close', () => drop(socket))
    idle.set(socket, { sinceMs: performance.now(), bytesRead: 0, isAnswered: false })
    if (idle.size + busy.size > limits.connections) {
      // Never the new one itself, which is the last of the idle ones.
      const [oldest] = idle.size > 1 ? idle.keys() : busy.keys()
      if (oldest !== undefined) drop(oldest)
    }
    server.emit('connection', socket)
  })
  server.on('request', ({ socket }, response) => {
    if (!idle.delete(socket)) return
    busy.set(socket, { sinceMs: performance.now(), bytesRead: 0, isAnswered: false })
    response.once('close', () => {
      if (!busy.delete(socket)) return
      const { bytesRead } = socket
      idle.set(socket, { sinceMs: performance.now(), bytesRead, isAnswered: true })
    })
  })
  const timer = setInterval(() => {
    const now = performance.now()
    for (const [socket, { sinceMs, bytesRead, isAnswered }] of idle) {
      const isQuiet = isAnswered && socket.bytesRead === bytesRead
      if (now - sinceMs > (isQuiet ? limits.idleMs : limits.requestMs)) drop(socket)
    }
    for (const [socket, { sinceMs }] of busy) if (now - sinceMs > limits.answerMs) drop(socket)
  }, LOOK_MS)
  timer.unref()
  listener.once('close', () => clearInterval(timer))
  const close = listener.close.bind(listener)
  listener.close = (done) => {
    for (const socket of [...idle.keys(), ...busy.keys()]) drop(socket)
    return close(done)
  }
  return listener
}
