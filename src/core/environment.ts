/**
 * Everything between the socket and the broker that decides something takes its clock, timers,
 * sockets, HTTP and randomness from here: `feed/environment.ts` is the real one, the simulated
 * worlds of `test/simulation` are the other.
 */

export interface Timer {
  /** Idempotent; a cancelled timer never fires. */
  cancel(): void
}

/** What a socket tells its owner. Never called again after `closed`. */
export interface SocketEvents {
  opened(): void
  /** One whole message as bytes, owned by the receiver for the duration of the call. */
  received(frame: Uint8Array): void
  /** A protocol ping or pong came: nothing to read, but the peer is there. */
  alive(): void
  /**
   * Exactly once, also when the connection could never be made; `refusal` when the peer answered the
   * request for it like any other HTTP request.
   */
  closed(code: number, reason: string, refusal?: Refusal): void
}

export interface Socket {
  send(text: string): void
  /** A protocol ping, which every peer answers with a pong. */
  ping(): void
  /** Stops and starts delivery (and so the peer, by TCP). */
  pause(): void
  resume(): void
  /** Bytes handed to `send` that have not left yet. */
  readonly bufferedBytes: number
  /** Ends at once, without waiting for the peer; `closed` still follows. */
  terminate(): void
}

/** An HTTP answer that is not what was asked for. */
export interface Refusal {
  readonly status: number
  /** From `Retry-After`, in ms. */
  readonly retryAfterMs?: number
}

export interface HttpResponse {
  /** HTTP status; 0 when no answer came (refused, cut, timed out). */
  readonly status: number
  readonly body: string
  /** From `Retry-After`, in ms. */
  readonly retryAfterMs?: number
}

export interface Environment {
  /** Wall clock, integer microseconds since 1970. It may step in either direction. */
  nowUs(): number
  /** Never steps, arbitrary origin, ms. Every duration is measured with it. */
  monotonicMs(): number
  /** Runs `callback` once after `delayMs`. */
  setTimer(delayMs: number, callback: () => void): Timer
  /** Uniform in [0, 1). */
  random(): number
  /** A message of more than `frameBytesMax` bytes is not delivered: it ends the socket. */
  openSocket(url: string, events: SocketEvents, frameBytesMax: number): Socket
  /** `done` exactly once, unless cancelled. */
  httpGet(url: string, timeoutMs: number, done: (response: HttpResponse) => void): Timer
}
