/** Passes the stdout of the workers on to one output: whole lines, with backpressure. */
import type { Readable, Writable } from 'node:stream'

const NEWLINE = 10

/**
 * Lines of different lives never mix, and the cut line of a worker that died is left out. While
 * the output does not accept more, no worker is read, so that each feels the pressure itself.
 */
export class LineForwarder {
  readonly #output: Writable
  readonly #inputs: Set<Readable> = new Set()
  #blocked = false
  /** Writes that have not left yet. */
  #pending = 0
  #waiting: (() => void)[] = []

  constructor(output: Writable) {
    this.#output = output
    output.on('drain', () => this.#resume())
  }

  /** Forwards until the stream ends; resolves then. */
  attach(input: Readable): Promise<void> {
    this.#inputs.add(input)
    let tail: Uint8Array[] = []
    input.on('data', (chunk: Uint8Array) => {
      const end = chunk.lastIndexOf(NEWLINE) + 1
      if (end === 0) {
        tail.push(chunk)
        return
      }
      for (const part of tail) this.#write(part)
      this.#write(end === chunk.length ? chunk : chunk.subarray(0, end))
      tail = end === chunk.length ? [] : [chunk.subarray(end)]
    })
    return new Promise((resolve) => {
      input.once('close', () => {
        this.#inputs.delete(input)
        resolve()
      })
      input.on('error', () => input.destroy())
      if (this.#blocked) input.pause()
    })
  }

  /** Resolves when everything written so far has left, or the output is broken. */
  flushed(): Promise<void> {
    // Not by a last empty write: Bun calls back for that one before the others are out.
    if (this.#pending === 0 || this.#output.destroyed) return Promise.resolve()
    return new Promise((resolve) => this.#waiting.push(resolve))
  }

  #write(bytes: Uint8Array): void {
    if (this.#output.destroyed) return
    this.#pending++
    if (this.#output.write(bytes, () => this.#written()) || this.#blocked) return
    this.#blocked = true
    for (const input of this.#inputs) input.pause()
  }

  #written(): void {
    this.#pending--
    if (this.#pending > 0) return
    for (const resolve of this.#waiting) resolve()
    this.#waiting = []
  }

  #resume(): void {
    this.#blocked = false
    for (const input of this.#inputs) input.resume()
  }
}
