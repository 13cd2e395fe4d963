import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { resolve } from 'node:path'
import process from 'node:process'
import { describe, test } from 'node:test'
import { KIND_DELTA, KIND_INVALID, KIND_SNAPSHOT } from '../../src/sinks/sink.ts'
import { StdoutSink } from '../../src/sinks/stdout.ts'
import type { LineOutput } from '../../src/sinks/stdout.ts'
import { Heard, pushText, settle, streamsOn, VirtualClock } from '../kafka/fakes.ts'

/** A pipe whose reader reads when the test says so. */
class SlowPipe implements LineOutput {
  readonly writes: string[] = []
  #done: ((error?: Error) => void) | undefined
  #failed: ((error: Error) => void) | undefined

  write(bytes: Uint8Array, done: (error?: Error | null) => void): void {
    assert.equal(this.#done, undefined, 'one write at a time')
    this.writes.push(new TextDecoder().decode(bytes))
    this.#done = done
  }

  on(_event: 'error', listener: (error: Error) => void): void {
    this.#failed = listener
  }

  async read(): Promise<void> {
    const done = this.#done
    this.#done = undefined
    done?.()
    await settle()
  }

  break(code: string): void {
    const error = Object.assign(new Error(code), { code })
    this.#done?.(error)
    this.#failed?.(error)
  }
}

interface Stage {
  clock: VirtualClock
  pipe: SlowPipe
  heard: Heard
  sink: StdoutSink
}

async function stage(partitions: number[]): Promise<Stage> {
  const clock = new VirtualClock()
  const pipe = new SlowPipe()
  const heard = new Heard()
  const sink = new StdoutSink(clock, pipe)
  await sink.start(streamsOn(...partitions), heard)
  return { clock, pipe, heard, sink }
}

describe('stdout', () => {
  test('one line each, in order; the first leaves at once, the rest in one write', async () => {
    const { pipe, sink } = await stage([0, 1])
    pushText(sink, 0, KIND_SNAPSHOT, 'a')
    pushText(sink, 1, KIND_DELTA, 'b')
    await settle()
    pushText(sink, 0, KIND_DELTA, 'c')
    pushText(sink, 1, KIND_DELTA, 'd')
    await settle()
    assert.deepEqual(pipe.writes, ['a\nb\n'])
    await pipe.read()
    assert.deepEqual(pipe.writes, ['a\nb\n', 'c\nd\n'])
    assert.equal(sink.stats.sentRecords, 2)
    assert.equal(sink.stats.queuedRecords, 2)
  })

  test('a slow reader costs the backlog of the busiest symbol, never memory', async () => {
    const { pipe, heard, sink } = await stage([0, 1])
    heard.onDropped = (stream) => pushText(sink, stream, KIND_INVALID, 'overflow')
    pushText(sink, 0, KIND_SNAPSHOT, 'first')
    await settle()
    pushText(sink, 1, KIND_DELTA, 'quiet')
    while (pushText(sink, 0, KIND_DELTA, 'x'.repeat(100_000))) {
      assert.ok(sink.stats.queuedBytes <= 33 * 1024 * 1024)
    }
    assert.match(heard.take().join(), /^dropped 0 \d{3}$/)
    assert.equal(pushText(sink, 0, KIND_DELTA, 'refused'), false)
    heard.onWritable = (stream) => pushText(sink, stream, KIND_SNAPSHOT, 'anew')
    await pipe.read()
    assert.deepEqual(heard.take(), ['writable 0'])
    assert.deepEqual(pipe.writes, ['first\n', 'quiet\noverflow\nanew\n'])
  })

  test('lines too old are dropped', async () => {
    const { clock, pipe, heard, sink } = await stage([0])
    pushText(sink, 0, KIND_DELTA, 'in the pipe')
    await settle()
    pushText(sink, 0, KIND_DELTA, 'old')
    await clock.advance(11_000)
    assert.deepEqual(heard.take(), ['dropped 0 1'])
    await pipe.read()
    assert.deepEqual(heard.take(), ['writable 0'])
  })

  test('flush waits for the reader', async () => {
    const { clock, pipe, sink } = await stage([0])
    pushText(sink, 0, KIND_DELTA, 'a')
    await settle()
    const late = sink.flush(100)
    await clock.advance(101)
    assert.equal(await late, false)
    const complete = sink.flush(100)
    await pipe.read()
    assert.equal(await complete, true)
    await sink.close()
    await clock.advance(1_000)
    assert.equal(clock.timers, 0)
    assert.equal(pushText(sink, 0, KIND_DELTA, 'late'), false)
  })

  test('a reader that has gone is a clean end, a full disk is not', async () => {
    for (const [code, exitCode] of [['EPIPE', 0], ['ENOSPC', 73]] as const) {
      const { pipe, heard, sink } = await stage([0])
      pushText(sink, 0, KIND_DELTA, 'a')
      await settle()
      pipe.break(code)
      assert.equal(heard.failures.length, 1)
      assert.equal(heard.failures[0].exitCode, exitCode)
      assert.equal(pushText(sink, 0, KIND_DELTA, 'b'), false)
      assert.equal(await sink.flush(10), false)
    }
  })
})

const program = `
import { StdoutSink } from '${resolve(import.meta.dirname!, '../../src/sinks/stdout.ts')}'
import { realEnvironment } from '${resolve(import.meta.dirname!, '../../src/feed/environment.ts')}'
const sink = new StdoutSink(realEnvironment)
const bytes = new TextEncoder().encode('x'.repeat(999))
const events = {
  dropped: (stream, n) => process.stderr.write('dropped\\n'),
  writable() {}, pressure() {},
  failed: (error) => { process.stderr.write('failed ' + error.exitCode + '\\n'); process.exit(error.exitCode) },
}
await sink.start([{ symbol: 'A' }], events)
let pushed = 0
const timer = setInterval(async () => {
  for (let i = 0; i < 100; i++, pushed++) sink.push(0, 1, bytes, 0, 999, 0)
  if (pushed < 5000) return
  clearInterval(timer)
  process.stderr.write('flushed ' + await sink.flush(10000) + '\\n')
  process.exit(0)
}, 1)
`

/** Runs the sink in a process of its own whose stdout is a real pipe. */
async function runProgram(read: (output: NodeJS.ReadableStream) => void): Promise<string> {
  const child = spawn(process.execPath, ['-e', program], { stdio: ['ignore', 'pipe', 'pipe'] })
  let errors = ''
  child.stderr.on('data', (chunk: Uint8Array) => errors += new TextDecoder().decode(chunk))
  read(child.stdout)
  const [code] = await once(child, 'close') as [number]
  return `${errors.trim()} exit ${code}`
}

describe('a real pipe', () => {
  test('a reader that comes late gets every line', async () => {
    let bytes = 0
    const outcome = await runProgram((output) => {
      setTimeout(() => output.on('data', (chunk: Uint8Array) => bytes += chunk.length), 300)
    })
    assert.equal(outcome, 'flushed true exit 0')
    assert.equal(bytes, 5_000_000)
  })

  test('a reader that goes ends it with exit 0', async () => {
    const outcome = await runProgram((output) => {
      output.once('data', () => (output as unknown as { destroy(): void }).destroy())
    })
    assert.equal(outcome, 'failed 0 exit 0')
  })
})
