/** How the topics of Bybit count their frames in `u`, which begins anew when a service restarts. */
import type { Stream } from './connection.ts'
import { hashText } from './random.ts'

/** One topic. */
interface Count {
  /** Never changes; beyond the `u` of any restart. */
  readonly base: number
  /** Of each restart, the beginning among them: what makes `u` of its frames, and the first one. */
  readonly runs: { readonly offset: number; readonly first: number }[]
}

/**
 * A topic that restarted does not do so again before: what its clients still have to hear of the
 * run before could not be told from the new one.
 */
const RUN_FRAMES_MIN = 200

/** Beside `u` each frame has a place, which rises for ever: what a history is searched by. */
export class TopicCounts {
  readonly #counts = new Map<Stream, Count>()

  /** Of the last frame of a topic. */
  place(stream: Stream): number {
    return this.#count(stream).base + stream.frames
  }

  /** `u` of the last frame of a topic. */
  updateId(stream: Stream): number {
    return this.#count(stream).runs.at(-1)!.offset + stream.frames
  }

  mayRestart(stream: Stream): boolean {
    return this.#count(stream).runs.length === 1 || this.updateId(stream) >= RUN_FRAMES_MIN
  }

  /** The last frame of the topic has `u` 1. */
  restart(stream: Stream): void {
    this.#count(stream).runs.push({ offset: 1 - stream.frames, first: stream.frames })
  }

  /** The places of those frames of the product's topics that had this `u`; newest first. */
  places(product: number | undefined, u: number): number[] {
    const places: number[] = []
    for (const [stream, { base, runs }] of this.#counts) {
      if (stream.product !== product) continue
      let last = stream.frames
      for (const { offset, first } of [...runs].reverse()) {
        const frame = u - offset
        if (frame >= first && frame <= last) places.push(base + frame)
        last = first - 1
      }
    }
    return places
  }

  #count(stream: Stream): Count {
    let count = this.#counts.get(stream)
    if (count === undefined) {
      const { wireSymbol, segment } = stream.market.product
      const name = `${segment} ${stream.channel.key} ${wireSymbol}`
      const base = 18_521_288 + hashText(name) % 100_000_000
      count = { base, runs: [{ offset: base, first: 0 }] }
      this.#counts.set(stream, count)
    }
    return count
  }
}
