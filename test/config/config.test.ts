/** Settings: precedence, origins, and every refusal once. */
import { describe, test } from 'node:test'
import assert from 'node:assert/strict'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { resolveSettings, showSetting } from '../../src/config/config.ts'
import { editDistance, nearestWord } from '../../src/config/nearest.ts'
import { optionOf, OPTIONS } from '../../src/config/options.ts'
import { formerIds } from '../../src/exchanges/index.ts'
import { ObfeedError } from '../../src/core/errors.ts'

type Sources = Parameters<typeof resolveSettings>[0]

const BASE = { exchange: 'coinbase', map: 'm.json' }

function resolve(sources: Partial<Sources> = {}): ReturnType<typeof resolveSettings> {
  return resolveSettings({ env: {}, ...sources, flags: { ...BASE, ...sources.flags } })
}

function refusal(sources: Partial<Sources>): [exitCode: number, message: string] {
  try {
    resolve(sources)
  } catch (error) {
    assert.ok(error instanceof ObfeedError, String(error))
    return [error.exitCode, error.message]
  }
  return [0, 'accepted']
}

function file(content: unknown): { path: string; text: string } {
  return { path: 'etc/obfeed.json', text: JSON.stringify(content) }
}

describe('resolveSettings', () => {
  test('has the documented defaults', () => {
    const { settings, origins } = resolve()
    assert.deepEqual(settings, {
      exchange: 'coinbase',
      engine: 'auto',
      map: 'm.json',
      strictMap: false,
      sink: 'kafka',
      brokers: ['localhost:9092'],
      topic: 'coinbase-orderbook',
      replicationFactor: -1,
      manageTopic: true,
      compression: 'none',
      onConflict: 'take-over',
      depth: 1000,
      publish: 'delta',
      snapshotIntervalMs: 30_000,
      workers: 0,
      cpus: [],
      pin: 'auto',
      http: '127.0.0.1:9469',
      httpRequired: false,
      whenFull: 'conflate',
      queueBytesMax: 64 * 2 ** 20,
      queueAgeMsMax: 10_000,
      deliveryTimeoutMs: 30_000,
      drainTimeoutMs: 20_000,
      kafkaTls: false,
      logLevel: 'info',
      logFormat: 'text',
    })
    assert.equal(origins.exchange, 'flag')
    assert.equal(origins.depth, 'default')
  })

  test('former exchange ids mean those of today, with a note', () => {
    for (const [former, today] of Object.entries(formerIds)) {
      const { settings, warnings } = resolveSettings({
        flags: { exchange: former, map: 'm.json' },
        env: {},
      })
      assert.deepEqual([settings.exchange, settings.topic], [today, `${today}-orderbook`])
      assert.deepEqual(warnings, [
        `the exchange "${former}" is called ${today} today, used that`,
      ])
    }
  })

  test('takes the flag before the variable before the file before the default', () => {
    const all = {
      flags: { depth: '1' },
      env: { OBFEED_DEPTH: '2', OBFEED_WORKERS: '2' },
      file: file({ depth: 3, workers: 3, snapshotInterval: 3 }),
    }
    const { settings, origins } = resolve(all)
    assert.deepEqual(
      [settings.depth, settings.workers, settings.snapshotIntervalMs, settings.queueAgeMsMax],
      [1, 2, 3000, 10_000],
    )
    assert.deepEqual(
      [origins.depth, origins.workers, origins.snapshotIntervalMs, origins.queueAgeMsMax],
      ['flag', 'env', 'file', 'default'],
    )
  })

  test('reads every setting from flag, variable and file alike', () => {
    const texts: Record<string, string> = {
      exchange: 'kraken',
      engine: 'ccxt',
      map: '/x/map.json',
      strictMap: 'true',
      sink: 'stdout',
      brokers: ' a:1, b ,,a:1,[::1]:9092,',
      topic: '{exchange}.books',
      replicationFactor: '3',
      manageTopic: 'false',
      compression: 'lz4',
      onConflict: 'exit',
      depth: 'full',
      publish: 'book',
      snapshotIntervalMs: '0.5',
      workers: '4',
      cpus: '0-2,7',
      pin: 'off',
      wsUrl: 'ws://h:1/p',
      restUrl: 'http://h:1',
      http: 'off',
      httpRequired: 'true',
      whenFull: 'block',
      queueBytesMax: '2M',
      queueAgeMsMax: '1.25',
      deliveryTimeoutMs: '60',
      drainTimeoutMs: '0',
      kafkaUsername: 'u',
      kafkaPassword: 'p',
      kafkaMechanism: 'plain',
      kafkaTls: 'true',
      logLevel: 'trace',
      logFormat: 'json',
    }
    const flags: Record<string, unknown> = {}
    const env: Record<string, string> = {}
    const members: Record<string, unknown> = {}
    for (const option of OPTIONS) {
      const value = texts[option.key]
      assert.ok(value !== undefined, `${option.key} has no case here`)
      if (option.flag !== undefined) flags[option.flag] = value
      env[option.env] = value
      members[option.fileKey] = option.type === 'boolean' ? value === 'true' : value
    }
    const byEnv = resolveSettings({ flags: {}, env }).settings
    const password = { OBFEED_KAFKA_PASSWORD: 'p' }
    assert.deepEqual(resolveSettings({ flags, env: password }).settings, byEnv)
    assert.deepEqual(resolveSettings({ flags: {}, env: {}, file: file(members) }).settings, byEnv)
    assert.deepEqual(byEnv.cpus, [0, 1, 2, 7])
    assert.deepEqual(byEnv.brokers, ['a:1', 'b:9092', '[::1]:9092'])
    assert.deepEqual([byEnv.depth, byEnv.snapshotIntervalMs, byEnv.queueAgeMsMax], [0, 500, 1250])
    assert.deepEqual([byEnv.topic, byEnv.manageTopic], ['kraken.books', false])
  })

  test('takes an empty variable as unset', () => {
    assert.equal(resolve({ env: { OBFEED_DEPTH: '' } }).origins.depth, 'default')
  })

  test('takes numbers and lists from the file', () => {
    const { settings } = resolve({
      file: file({ brokers: ['a:1', 'b:2'], cpus: [3, 1], depth: 5, queueBytes: 2 ** 20 }),
    })
    assert.deepEqual(settings.brokers, ['a:1', 'b:2'])
    assert.deepEqual(settings.cpus, [1, 3])
    assert.deepEqual([settings.depth, settings.queueBytesMax], [5, 2 ** 20])
  })

  test('finds the map of a config file beside that file', () => {
    const sources = { flags: {}, env: {}, file: file({ exchange: 'coinbase', map: 'm.json' }) }
    assert.equal(resolveSettings(sources).settings.map, join('etc', 'm.json'))
  })

  test('reads the file of --config or OBFEED_CONFIG, and no other', () => {
    const folder = mkdtempSync(join(tmpdir(), 'obfeed-config-'))
    const before = process.cwd()
    try {
      const path = join(folder, 'obfeed.json')
      writeFileSync(path, '{"//": "a comment", "depth": 7}')
      assert.equal(resolve({ flags: { config: path } }).settings.depth, 7)
      assert.equal(resolve({ env: { OBFEED_CONFIG: path } }).settings.depth, 7)
      process.chdir(folder)
      assert.equal(resolve().settings.depth, 1000)
    } finally {
      process.chdir(before)
      rmSync(folder, { recursive: true })
    }
  })

  test('reads a secret from a file', () => {
    const folder = mkdtempSync(join(tmpdir(), 'obfeed-secret-'))
    try {
      const path = join(folder, 'password')
      writeFileSync(path, 's3cret\n')
      const flags = { 'kafka-username': 'u', 'kafka-mechanism': 'scram-sha-512' }
      const { settings, origins } = resolve({ flags, env: { OBFEED_KAFKA_PASSWORD_FILE: path } })
      assert.equal(settings.kafkaPassword, 's3cret')
      assert.equal(origins.kafkaPassword, 'env')
      assert.equal(showSetting(optionOf('kafkaPassword'), settings), '***')
    } finally {
      rmSync(folder, { recursive: true })
    }
  })

  test('never shows the password of an address', () => {
    const { settings } = resolve({ flags: { 'rest-url': 'https://me:s3cret@host/x' } })
    assert.equal(showSetting(optionOf('restUrl'), settings), 'https://***@host/x')
  })

  test('warns of a variable that means nothing', () => {
    const env = { OBFEED_DEPHT: '1', OBFEED_TEST_BINARY: 'x', OBFEED_CONFIG: '', OTHER: '1' }
    assert.deepEqual(resolve({ env }).warnings, [
      'OBFEED_DEPHT is set but no setting has this name; did you mean OBFEED_DEPTH?',
    ])
  })

  test('asks for what is required, exit 64', () => {
    const missing = (flags: Record<string, string>): string => {
      try {
        resolveSettings({ flags, env: {} })
      } catch (error) {
        assert.ok(error instanceof ObfeedError)
        assert.equal(error.exitCode, 64)
        return error.message
      }
      return ''
    }
    assert.equal(
      missing({ map: 'm.json' }),
      '--exchange is missing, expected an exchange id in lower case such as coinbase; give ' +
        '--exchange ID, OBFEED_EXCHANGE or "exchange" in the file of --config',
    )
    assert.equal(
      missing({ exchange: 'coinbase' }),
      '--map is missing, expected a path; give --map FILE, OBFEED_MAP or "map" in the file of ' +
        '--config',
    )
    const flags = { exchange: 'coinbase' }
    assert.equal(
      resolveSettings({ flags, env: {}, required: ['exchange'] }).settings.exchange,
      'coinbase',
    )
  })

  const wrong: readonly [flag: string, value: string, expected: string][] = [
    ['exchange', 'Coin base', 'an exchange id in lower case such as coinbase'],
    ['sink', 'kafak', 'one of kafka, stdout; did you mean kafka?'],
    ['brokers', 'a:1,b:x', 'HOST:PORT, several with commas between, IPv6 in brackets: [::1]:9092'],
    ['brokers', '::1:9092', 'HOST:PORT, several with commas between, IPv6 in brackets: [::1]:9092'],
    [
      'brokers',
      '[dead:beef]:1',
      'HOST:PORT, several with commas between, IPv6 in brackets: [::1]:9092',
    ],
    ['brokers', ' , ', 'HOST:PORT'],
    ['brokers', 'a:70000', 'HOST:PORT, several with commas between, IPv6 in brackets: [::1]:9092'],
    ['topic', 'a b', 'a Kafka topic name: 1 to 249 letters, digits, ".", "_" or "-"'],
    ['replication-factor', '0', 'an integer from 1 to 100, or auto'],
    ['depth', '0', 'an integer from 1 to 1000000, or full'],
    ['depth', '1.5', 'an integer from 1 to 1000000, or full'],
    ['publish', 'deltas', 'one of delta, book; did you mean delta?'],
    ['snapshot-interval', '30s', 'a number of seconds from 0.1 to 86400'],
    ['workers', '-1', 'an integer from 1 to 1024, or auto'],
    ['cpus', '3-1', 'a list of CPU numbers such as 0-3,8, or all'],
    ['pin', 'yes', 'one of auto, require, off'],
    ['ws-url', 'https://x', 'an address that begins with ws:// or wss://'],
    ['rest-url', 'localhost:1', 'an address that begins with http:// or https://'],
    ['http', ':9469', 'HOST:PORT, or off'],
    ['when-full', 'drop', 'one of conflate, block, exit'],
    ['queue-bytes', '1', 'bytes from 1M to 64G, such as 67108864 or 64M'],
    ['queue-age', '-1', 'a number of seconds from 0.1 to 3600'],
    ['delivery-timeout', '0', 'a number of seconds from 1 to 3600'],
    ['drain-timeout', '1e3', 'a number of seconds from 0 to 3600'],
    ['kafka-mechanism', 'SCRAM-SHA-512', 'one of plain, scram-sha-256, scram-sha-512'],
    ['log-level', 'warning', 'one of error, warn, info, debug, trace'],
    ['log-format', 'xml', 'one of text, json'],
  ]
  for (const [flag, value, expected] of wrong) {
    test(`refuses --${flag} ${value}, exit 64`, () => {
      const [exitCode, message] = refusal({ flags: { [flag]: value } })
      assert.equal(exitCode, 64)
      assert.ok(message.startsWith(`--${flag} was "${value}", expected ${expected}`), message)
    })
  }

  test('refuses a wrong variable, exit 78', () => {
    assert.deepEqual(refusal({ env: { OBFEED_MANAGE_TOPIC: 'maybe' } }), [
      78,
      'OBFEED_MANAGE_TOPIC was "maybe", expected true or false',
    ])
  })

  test('refuses two places for one secret, exit 78', () => {
    const env = { OBFEED_KAFKA_PASSWORD: 'a', OBFEED_KAFKA_PASSWORD_FILE: 'b' }
    assert.deepEqual(refusal({ env }), [
      78,
      'OBFEED_KAFKA_PASSWORD and OBFEED_KAFKA_PASSWORD_FILE are both set, expected one; unset ' +
      'the other',
    ])
  })

  test('refuses half of SASL, exit 78', () => {
    assert.deepEqual(refusal({ env: { OBFEED_KAFKA_PASSWORD: 'a' } }), [
      78,
      'SASL was given OBFEED_KAFKA_PASSWORD only, expected user name, password and mechanism; set ' +
      '--kafka-username (OBFEED_KAFKA_USERNAME) and --kafka-mechanism (OBFEED_KAFKA_MECHANISM) too',
    ])
  })

  test('refuses a missing config file, exit 66', () => {
    const [exitCode, message] = refusal({ flags: { config: '/nonexistent/o.json' } })
    assert.equal(exitCode, 66)
    assert.match(message, /^\/nonexistent\/o\.json: no such file, expected a config file/)
  })

  test('tells all that is wrong with the file, with line and column, exit 78', () => {
    const text = `{
  "dpeth": 1,
  "zzz": 1,
  "depth": true,
  "sink": "kafak",
  "brokers": [],
  "publish": null,
  "kafkaPassword": 5,
  "pin": "off",
  "pin": "auto"
}`
    const [exitCode, message] = refusal({ file: { path: 'o.json', text } })
    assert.equal(exitCode, 78)
    assert.deepEqual(message.split('\n'), [
      'o.json:10:3: "pin" stands a second time, first in line 9; remove one',
      'o.json:2:3: "dpeth" is no setting; did you mean depth?',
      'o.json:3:3: "zzz" is no setting; `obfeed run --help` lists them',
      'o.json:4:12: "depth" was true, expected an integer from 1 to 1000000, or full',
      'o.json:5:11: "sink" was "kafak", expected one of kafka, stdout; did you mean kafka?',
      'o.json:6:14: "brokers" was a list, expected HOST:PORT, several with commas between, IPv6 in ' +
      'brackets: [::1]:9092',
      'o.json:7:14: "publish" was null, expected one of delta, book',
      'o.json:8:20: "kafkaPassword" does not fit, expected a password',
    ])
  })

  test('refuses a config file that is no object, exit 78', () => {
    assert.deepEqual(refusal({ file: { path: 'o.json', text: ' []' } }), [
      78,
      'o.json:1:2: was a list, expected an object {"exchange": "coinbase", ...}',
    ])
  })
})

describe('nearest', () => {
  test('counts insertions, deletions, replacements and swaps', () => {
    const cases: [string, string, number][] = [
      ['', 'abc', 3],
      ['abc', 'abc', 0],
      ['abc', 'abd', 1],
      ['abc', 'acb', 1],
      ['kitten', 'sitting', 3],
    ]
    for (const [a, b, distance] of cases) {
      assert.equal(editDistance(a, b), distance)
      assert.equal(editDistance(b, a), distance)
    }
  })

  test('suggests what is near, and nothing when nothing is', () => {
    assert.equal(nearestWord('pln', ['run', 'plan']), 'plan')
    assert.equal(nearestWord('val', ['run', 'validate']), 'validate')
    assert.equal(nearestWord('serve', ['run', 'plan']), undefined)
  })
})
