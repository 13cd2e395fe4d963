/** Runs the frame path hot on canned frames, so that the first real frame does not pay for it. */
import type { Environment, HttpResponse, Socket, SocketEvents, Timer } from '../core/environment.ts'
import type { Adapter } from '../exchanges/adapter.ts'
import { RECORD_BYTES_MAX, type Sink } from '../sinks/sink.ts'
import { newSinkStats } from '../sinks/stats.ts'
import { Feed } from './feed.ts'

/** Time spent at most, all slices together; the compiler has seen enough by then. */
const SPEND_MS = 250
/** Between slices the event loop runs: a plan that arrives must not wait. */
const SLICE_MS = 20
const INSTRUMENT = {
  symbol: 'BTC/USD',
  wireSymbol: 'BTC-USD',
  priceDecimals: 2,
  sizeDecimals: 8,
  partition: 0,
}

/**
 * Resolves when the path from frame to sink is hot, after about `SPEND_MS` of work, or soon after
 * `wanted` says no; with the number of records that went nowhere. Does nothing for an adapter
 * without `warmFrames`.
 */
export async function warm(
  adapter: Adapter,
  environment: Environment,
  wanted: () => boolean = () => true,
): Promise<number> {
  const frames = adapter.warmFrames?.(INSTRUMENT) ?? []
  if (frames.length === 0) return 0
  const snapshot = adapter.warmSnapshot?.(INSTRUMENT)
  const sink = new Nowhere()
  let spentMs = 0
  while (spentMs < SPEND_MS && wanted()) {
    const started = environment.monotonicMs()
    do {
      pass(adapter, environment, frames, snapshot, sink)
    } while (environment.monotonicMs() - started < SLICE_MS)
    spentMs += Math.max(1, environment.monotonicMs() - started)
    await new Promise<void>((resolve) => environment.setTimer(0, resolve))
  }
  return sink.records
}

/**
 * One life of a socket through a whole feed: the code that will carry the real frames sees only
 * what it will see then. Everything but the socket, the answers of REST and the sink is the real
 * thing.
 */
function pass(
  adapter: Adapter,
  environment: Environment,
  frames: readonly Uint8Array[],
  snapshot: string | undefined,
  sink: Sink,
): void {
  let link: SocketEvents | undefined
  /** Requests to be answered: never from within the request, as it never is in reality. */
  const asked: ((response: HttpResponse) => void)[] = []
  const feed = new Feed(
    {
      adapter,
      plan: { id: 0, connections: [[INSTRUMENT]], budgetShare: 1 },
      depth: 1000,
      publish: 'delta',
      snapshotIntervalMs: 30_000,
      epochFloor: 0,
      onFatal: () => {},
      onNotice: () => {},
    },
    {
      ...environment,
      openSocket(_url, events): Socket {
        link = events
        return NO_SOCKET
      },
      httpGet(_url, _timeoutMs, done): Timer {
        asked.push(done)
        return NO_TIMER
      },
    },
    sink,
  )
  feed.start()
  link?.opened()
  for (const frame of frames) {
    link?.received(frame)
    if (snapshot === undefined) continue
    for (const done of asked.splice(0)) done({ status: 200, body: snapshot })
  }
  feed.drain()
}

const NO_TIMER: Timer = { cancel() {} }

const NO_SOCKET: Socket = {
  send() {},
  ping() {},
  pause() {},
  resume() {},
  bufferedBytes: 0,
  terminate() {},
}

class Nowhere implements Sink {
  readonly recordBytesMax = RECORD_BYTES_MAX
  records = 0
  readonly stats = newSinkStats()

  start(): Promise<void> {
    return Promise.resolve()
  }

  push(): boolean {
    this.records++
    return true
  }

  flush(): Promise<boolean> {
    return Promise.resolve(true)
  }

  close(): Promise<void> {
    return Promise.resolve()
  }
}
