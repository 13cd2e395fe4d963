/** The log: formats, levels, and a reader of stderr that does not read. */
import { describe, test } from 'node:test'
import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { resolve } from 'node:path'
import process from 'node:process'

const MODULE = resolve(import.meta.dirname!, '../../src/telemetry/log.ts')

interface Outcome {
  readonly stdout: string
  readonly stderr: string
  readonly code: number | null
}

/** Runs `body` in a process of its own, with `log` and its kin in scope. */
function run(
  body: string,
  options: { readonly env?: Record<string, string>; readonly readAfterMs?: number } = {},
): Promise<Outcome> {
  const source = `import { configureLog, flushLog, log, logLastWords, logStats } from '${MODULE}'
    async function main() { ${body} }
    main()`
  const child = spawn(process.execPath, ['-e', source], {
    env: { PATH: process.env.PATH ?? '', ...options.env },
    stdio: ['ignore', 'pipe', 'pipe'],
  })
  let stdout = ''
  let stderr = ''
  child.stdout.setEncoding('utf8').on('data', (text: string) => stdout += text)
  const read = (): unknown =>
    child.stderr.setEncoding('utf8').on('data', (text: string) => stderr += text)
  // Without a listener the pipe fills and the child's writes block: a reader that does not read.
  if (options.readAfterMs === undefined) read()
  else setTimeout(read, options.readAfterMs)
  return new Promise((done) => child.on('close', (code) => done({ stdout, stderr, code })))
}

const CONFIGURE = `configureLog({ level: 'debug', format: 'text', name: 'worker-3' })`

describe('log', () => {
  test('writes text: time, level, name, message, fields; stdout stays empty', async () => {
    const { stdout, stderr } = await run(`${CONFIGURE}
      log.info('book is live', { symbol: 'ETH/USD', seq: 4, why: 'a b', absent: undefined })
      log.warn('two\\nlines', { list: [1, 2] })
      log.error('failed', { err: new TypeError('bad "x"') })
      log.trace('not at this level')`)
    assert.equal(stdout, '')
    const [first, second, third, stack] = stderr.split('\n')
    const time = '^\\d{4}-\\d\\d-\\d\\dT\\d\\d:\\d\\d:\\d\\d\\.\\d{3}Z '
    assert.match(
      first!,
      new RegExp(`${time}INFO  worker-3 book is live symbol=ETH/USD seq=4 why="a b"$`),
    )
    assert.match(second!, new RegExp(`${time}WARN  worker-3 two\\\\nlines list=\\[1,2\\]$`))
    assert.match(
      third!,
      new RegExp(`${time}ERROR worker-3 failed err="TypeError: bad \\\\"x\\\\""$`),
    )
    assert.match(stack!, /^ +at /)
    assert.ok(!stderr.includes('not at this level'))
  })

  test('no text forges a line, moves the cursor or is escaped twice; stacks included', async () => {
    const hostile = 'x\\n2026-12-01T00:00:00.000Z ERROR agent forged\\u2028\\u0085\\u202e\\u001b[2J'
    const body = `const hostile = '${hostile}'
      log.warn(hostile, { detail: hostile, plain: 'a\\tb', quote: 'a"\\\\' })
      log.error('failed', { err: new Error(hostile), nested: { text: hostile } })
      logLastWords('gone', { err: new Error(hostile) })
      log.info('long', { text: 'y'.repeat(1e6), err: new Error('z'.repeat(1e6)) })`
    const text = await run(`${CONFIGURE}\n${body}`)
    // deno-lint-ignore no-control-regex
    const harmful = /[\x00-\x09\x0b-\x1f\x7f-\x9f\u2028-\u202e]/
    assert.doesNotMatch(text.stderr, harmful)
    for (const line of text.stderr.trimEnd().split('\n')) {
      assert.match(line, /^(\S+Z (WARN |ERROR|INFO ) worker-3 | {4}at )/, 'ours, or of a stack')
      assert.ok(line.length < 30_000, `${line.length} characters`)
    }
    const escaped = 'x\\n2026-12-01T00:00:00.000Z ERROR agent forged\\u2028\\u0085\\u202e\\u001b[2J'
    assert.ok(text.stderr.includes(`worker-3 ${escaped} detail="${escaped}"`), text.stderr)
    assert.ok(text.stderr.includes('plain=a\\tb quote="a\\"\\\\"'), 'a quote ends where it should')

    const json = await run(`configureLog({ level: 'debug', format: 'json', name: 'w' })\n${body}`)
    assert.doesNotMatch(json.stderr, harmful)
    const lines = json.stderr.trimEnd().split('\n')
    assert.equal(lines.length, 4)
    const [first, second] = lines.map((line) => JSON.parse(line))
    assert.ok(first.msg.startsWith('x\n2026'), 'JSON has its own escapes')
    assert.equal(first.detail, first.msg)
    assert.equal(second.nested.text, first.msg)
    assert.ok(lines.every((line) => line.length < 60_000))
  })

  test('writes JSON: one object a line, whose own keys no field replaces', async () => {
    const { stderr } = await run(`configureLog({ level: 'info', format: 'json', name: 'agent' })
      log.info('x', { symbol: 'ETH/USD', ts: 1, level: 'fatal', big: 10n })
      log.error('y', { err: new Error('z') })
      const round = {}; round.self = round; log.warn('w', round)
      log.debug('no')`)
    const lines = stderr.trim().split('\n').map((line) => JSON.parse(line))
    assert.equal(lines.length, 3)
    assert.match(lines[0].ts, /^\d{4}-.*Z$/)
    assert.deepEqual({ ...lines[0], ts: '' }, {
      ts: '',
      level: 'info',
      logger: 'agent',
      msg: 'x',
      symbol: 'ETH/USD',
      big: '10',
    })
    assert.deepEqual([lines[2].msg, lines[2].fields], ['w', 'unprintable: self'])
    assert.deepEqual([lines[1].err.name, lines[1].err.msg], ['Error', 'z'])
  })

  test('takes its level from the settings alone', async () => {
    const env = { CONSOLA_LEVEL: 'trace', DEBUG: '*', CI: '1', TEST: '1' }
    const { stderr } = await run(
      `log.debug('no'); configureLog({ level: 'error', format: 'text', name: 'a' })
       log.warn('no'); log.error('yes')`,
      { env },
    )
    assert.equal(stderr.trim().split('\n').length, 1)
    assert.match(stderr, /ERROR a yes/)
  })

  test('prints what is said again and again every time', async () => {
    const { stderr } = await run(`for (let i = 0; i < 50; i++) log.info('again')`)
    assert.equal(stderr.trim().split('\n').length, 50)
  })

  test('counts messages by level', async () => {
    const { stdout } = await run(`${CONFIGURE}
      log.info('a'); log.info('b'); log.error('c'); log.trace('d')
      console.log(JSON.stringify(logStats))`)
    assert.deepEqual(JSON.parse(stdout), {
      error: 1,
      warn: 0,
      info: 2,
      debug: 0,
      trace: 0,
      dropped: 0,
    })
  })

  test('does not wait for a blocked stderr, drops, counts, and says so later', async () => {
    const { stdout, stderr, code } = await run(
      `let worst = 0, last = performance.now()
       const timer = setInterval(() => {
         const now = performance.now(); worst = Math.max(worst, now - last - 10); last = now
         for (let i = 0; i < 200; i++) log.info('x'.repeat(200))
       }, 10)
       setTimeout(() => {
         clearInterval(timer)
         console.log(JSON.stringify({ worst, dropped: logStats.dropped, rss: process.memoryUsage.rss() }))
       }, 700)`,
      { readAfterMs: 1000 },
    )
    const { worst, dropped } = JSON.parse(stdout) as { worst: number; dropped: number }
    assert.ok(dropped > 1000, `${dropped} dropped`)
    assert.ok(worst < 500, `the event loop stood still for ${worst} ms`)
    assert.ok(stderr.length < 1_000_000, `${stderr.length} bytes were kept`)
    assert.match(stderr, /WARN {2}obfeed log lines were dropped .* lines=\d+\n/)
    assert.equal(code, 0)
  })

  test('lets the last words out of a process that ends at once', async () => {
    const { stderr } = await run(
      `${CONFIGURE}; logLastWords('the end', { code: 'E_X' }); process.exit(3)`,
    )
    assert.match(stderr, /ERROR worker-3 the end code=E_X\n$/)
  })

  test('flushes', async () => {
    const { stderr } = await run(
      `for (let i = 0; i < 900; i++) log.info('y'.repeat(200)); await flushLog(); process.exit(0)`,
    )
    assert.equal(stderr.trim().split('\n').length, 900)
  })
})
