/** Every setting once: its flag, variable, file key, type, default and words for the user. */
import { isIPv6 } from 'node:net'
import type { Settings } from './settings.ts'

export type SettingKey = keyof Settings

/** JSON types that a config file may use for a setting. */
export type FileKind = 'string' | 'number' | 'boolean' | 'array'

/** A value of a setting, as `Settings` holds it. */
export type SettingValue = string | number | boolean | readonly string[] | readonly number[]

export interface Option {
  readonly key: SettingKey
  /** `snapshot-interval`; absent for what must not stand on a command line. */
  readonly flag?: string
  /** `OBFEED_SNAPSHOT_INTERVAL`. */
  readonly env: string
  /** Key in the config file: `snapshotInterval`. */
  readonly fileKey: string
  readonly type: 'string' | 'boolean'
  /** Stands for the value in help: `SECONDS`. */
  readonly placeholder: string
  readonly description: string
  /** What was expected, for messages: `a number of seconds from 0.1 to 86400`. */
  readonly expected: string
  /** For "did you mean". */
  readonly choices?: readonly string[]
  /** Written as the user would; absent when there is none. */
  readonly default?: string
  /** Shown as `***`, also read from the file named by `<env>_FILE`. */
  readonly secret?: true
  /** A path: in a config file it is relative to that file's folder. */
  readonly path?: true
  readonly file: readonly FileKind[]
  /** From the user's text; undefined when it does not fit. */
  readonly parse: (text: string) => SettingValue | undefined
}

function choice(...choices: string[]): Pick<Option, 'choices' | 'expected' | 'parse'> {
  return {
    choices,
    expected: choices.length === 1 ? choices[0]! : `one of ${choices.join(', ')}`,
    parse: (text) => choices.includes(text) ? text : undefined,
  }
}

function integer(text: string, min: number, max: number): number | undefined {
  if (!/^\d{1,15}$/.test(text)) return undefined
  const value = Number(text)
  return value >= min && value <= max ? value : undefined
}

/** Seconds, decimals allowed, as whole ms. */
function seconds(min: number, max: number): Pick<Option, 'expected' | 'parse' | 'placeholder'> {
  return {
    placeholder: 'SECONDS',
    expected: `a number of seconds from ${min} to ${max}`,
    parse: (text) => {
      if (!/^\d{1,9}(\.\d{1,3})?$/.test(text)) return undefined
      const value = Number(text)
      return value >= min && value <= max ? Math.round(value * 1000) : undefined
    },
  }
}

const BYTE_UNITS: Readonly<Record<string, number>> = {
  '': 1,
  k: 2 ** 10,
  K: 2 ** 10,
  M: 2 ** 20,
  G: 2 ** 30,
}

function bytes(text: string): number | undefined {
  const match = /^(\d{1,12})([kKMG]?)$/.exec(text)
  if (match === null) return undefined
  const value = Number(match[1]) * BYTE_UNITS[match[2]!]!
  return value >= 2 ** 20 && value <= 2 ** 36 ? value : undefined
}

/** `host:port`, port 0 not allowed; undefined when it is not one. */
function endpoint(text: string, portDefault?: number): string | undefined {
  const match = /^(\[[0-9a-fA-F:.]+\]|[A-Za-z0-9_.-]+)(?::(\d{1,5}))?$/.exec(text)
  if (match === null) return undefined
  const port = match[2] === undefined ? portDefault : Number(match[2])
  if (port === undefined || port < 1 || port > 65_535) return undefined
  return `${match[1]}:${port}`
}

/** Blanks around a broker, an empty place and a second mention mean nothing. */
function brokers(text: string): readonly string[] | undefined {
  const parts = text.split(',').map((part) => part.trim()).filter((part) => part !== '')
  const list = parts.map(broker)
  if (list.length === 0 || list.includes(undefined)) return undefined
  return [...new Set(list as string[])]
}

function broker(text: string): string | undefined {
  const found = endpoint(text, 9092)
  const address = /^\[(.*)\]/.exec(found ?? '')?.[1]
  return address === undefined || isIPv6(address) ? found : undefined
}

/** Linux numbers its CPUs below this. */
const CPUS_MAX = 8192

function cpus(text: string): readonly number[] | undefined {
  if (text === 'all') return []
  const found = new Set<number>()
  for (const part of text.split(',')) {
    const match = /^\s*(\d{1,4})(?:-(\d{1,4}))?\s*$/.exec(part)
    if (match === null) return undefined
    const first = Number(match[1])
    const last = Number(match[2] ?? match[1])
    if (last < first || last >= CPUS_MAX) return undefined
    for (let cpu = first; cpu <= last; cpu++) found.add(cpu)
  }
  return [...found].sort((a, b) => a - b)
}

function url(...schemes: string[]): Pick<Option, 'expected' | 'parse' | 'placeholder'> {
  return {
    placeholder: 'URL',
    expected: `an address that begins with ${schemes.map((s) => `${s}://`).join(' or ')}`,
    parse: (text) => {
      if (!URL.canParse(text)) return undefined
      const parsed = new URL(text)
      const fits = schemes.includes(parsed.protocol.slice(0, -1)) && parsed.hostname !== ''
      return fits && parsed.search === '' && parsed.hash === '' ? text : undefined
    },
  }
}

const BOOLEANS: Readonly<Record<string, boolean>> = {
  true: true,
  yes: true,
  on: true,
  '1': true,
  false: false,
  no: false,
  off: false,
  '0': false,
}

const boolean = {
  type: 'boolean',
  placeholder: '',
  expected: 'true or false',
  file: ['boolean'],
  parse: (text: string) => BOOLEANS[text.toLowerCase()],
} as const

/** What an option says of itself; flag, variable and file key follow from the name. */
type Declaration =
  & Pick<Option, 'placeholder' | 'description' | 'expected' | 'parse'>
  & Partial<
    Pick<Option, 'choices' | 'default' | 'secret' | 'path' | 'file' | 'type'>
  >

function option(key: SettingKey, name: string, declaration: Declaration): Option {
  const { secret } = declaration
  return {
    type: 'string',
    file: ['string'],
    ...declaration,
    key,
    ...(secret ? {} : { flag: name }),
    env: `OBFEED_${name.replaceAll('-', '_').toUpperCase()}`,
    fileKey: name.replace(/-(\w)/g, (_, letter: string) => letter.toUpperCase()),
  }
}

const TOPIC = /^[A-Za-z0-9._-]{1,249}$/

/** In the order help and `validate --print-effective` show them. */
export const OPTIONS: readonly Option[] = [
  option('exchange', 'exchange', {
    placeholder: 'ID',
    description: 'exchange, by its ccxt id; required',
    expected: 'an exchange id in lower case such as coinbase',
    parse: (text) => /^[a-z][a-z0-9_-]*$/.test(text) ? text : undefined,
  }),
  option('engine', 'engine', {
    placeholder: 'ENGINE',
    description: 'native, ccxt, or auto: native where obfeed has an adapter of its own',
    default: 'auto',
    ...choice('auto', 'native', 'ccxt'),
  }),
  option('map', 'map', {
    placeholder: 'FILE',
    description: 'partition map, JSON {"ETH/USD": 0, ...}: symbol -> partition; required',
    expected: 'a path',
    path: true,
    parse: (text) => text,
  }),
  option('strictMap', 'strict-map', {
    ...boolean,
    description: 'refuse to start when a symbol of the map is not traded at present',
    default: 'false',
  }),
  option('sink', 'sink', {
    placeholder: 'SINK',
    description: 'kafka, or stdout: exactly the record values, one a line',
    default: 'kafka',
    ...choice('kafka', 'stdout'),
  }),
  option('brokers', 'brokers', {
    placeholder: 'HOST:PORT,...',
    description: 'Kafka brokers to begin with',
    default: 'localhost:9092',
    expected: 'HOST:PORT, several with commas between, IPv6 in brackets: [::1]:9092',
    file: ['string', 'array'],
    parse: brokers,
  }),
  option('topic', 'topic', {
    placeholder: 'NAME',
    description: 'Kafka topic; {exchange} stands for the exchange',
    default: '{exchange}-orderbook',
    expected: 'a Kafka topic name: 1 to 249 letters, digits, ".", "_" or "-"',
    parse: (text) => {
      const name = text.replaceAll('{exchange}', 'x')
      return TOPIC.test(name) && name !== '.' && name !== '..' ? text : undefined
    },
  }),
  option('replicationFactor', 'replication-factor', {
    placeholder: 'N',
    description: 'replicas of a topic that obfeed creates; auto = as the cluster is set up',
    default: 'auto',
    expected: 'an integer from 1 to 100, or auto',
    file: ['string', 'number'],
    parse: (text) => text === 'auto' ? -1 : integer(text, 1, 100),
  }),
  option('manageTopic', 'manage-topic', {
    ...boolean,
    description: 'create the topic when it is missing, add partitions when it has too few',
    default: 'true',
  }),
  option('compression', 'compression', {
    placeholder: 'CODEC',
    description: 'of record batches: none, gzip, snappy, lz4, zstd, or auto = the best there is; ' +
      'consumers need the codec',
    default: 'none',
    ...choice('none', 'gzip', 'snappy', 'lz4', 'zstd', 'auto'),
  }),
  option('onConflict', 'on-conflict', {
    placeholder: 'POLICY',
    description: 'when another obfeed publishes the same symbols to the topic: take-over = ' +
      'begin higher epochs; exit (78)',
    default: 'take-over',
    ...choice('take-over', 'exit'),
  }),
  option('depth', 'depth', {
    placeholder: 'N|full',
    description: 'levels a side to publish',
    default: '1000',
    expected: 'an integer from 1 to 1000000, or full',
    choices: ['full'],
    file: ['string', 'number'],
    parse: (text) => text === 'full' ? 0 : integer(text, 1, 1_000_000),
  }),
  option('publish', 'publish', {
    placeholder: 'KIND',
    description: 'delta: changes between checkpoints; book: the whole view at each change',
    default: 'delta',
    ...choice('delta', 'book'),
  }),
  option('snapshotIntervalMs', 'snapshot-interval', {
    description: 'time between the checkpoints of a symbol',
    default: '30',
    file: ['number', 'string'],
    ...seconds(0.1, 86_400),
  }),
  option('workers', 'workers', {
    placeholder: 'N|auto',
    description: 'worker processes; auto = one per usable physical core',
    default: 'auto',
    expected: 'an integer from 1 to 1024, or auto',
    choices: ['auto'],
    file: ['string', 'number'],
    parse: (text) => text === 'auto' ? 0 : integer(text, 1, 1024),
  }),
  option('cpus', 'cpus', {
    placeholder: 'LIST',
    description: 'CPUs that workers may use, such as 0-3,8',
    default: 'all',
    expected: 'a list of CPU numbers such as 0-3,8, or all',
    choices: ['all'],
    file: ['string', 'array'],
    parse: cpus,
  }),
  option('pin', 'pin', {
    placeholder: 'MODE',
    description: 'pin each worker to its CPU: auto goes on without taskset, require does not',
    default: 'auto',
    ...choice('auto', 'require', 'off'),
  }),
  option('wsUrl', 'ws-url', {
    description: 'replaces scheme, host and port of the exchange; a path is put in front',
    ...url('ws', 'wss'),
  }),
  option('restUrl', 'rest-url', {
    description: 'the same for its REST calls, market metadata included',
    ...url('http', 'https'),
  }),
  option('http', 'http', {
    placeholder: 'ADDR|off',
    description: 'status server: /livez /readyz /status /metrics',
    default: '127.0.0.1:9469',
    expected: 'HOST:PORT, or off',
    choices: ['off'],
    parse: (text) => text === 'off' ? text : endpoint(text),
  }),
  option('httpRequired', 'http-required', {
    ...boolean,
    description: 'end with 75 when the status server cannot listen, instead of a warning',
    default: 'false',
  }),
  option('whenFull', 'when-full', {
    placeholder: 'POLICY',
    description: 'when Kafka is too slow: conflate = drop the backlog, go on with a snapshot; ' +
      'block = stop reading; exit',
    default: 'conflate',
    ...choice('conflate', 'block', 'exit'),
  }),
  option('queueBytesMax', 'queue-bytes', {
    placeholder: 'BYTES',
    description: 'queue limit of a worker; k, M and G are powers of 1024',
    default: '64M',
    expected: 'bytes from 1M to 64G, such as 67108864 or 64M',
    file: ['string', 'number'],
    parse: bytes,
  }),
  option('queueAgeMsMax', 'queue-age', {
    description: 'oldest event a queue may hold',
    default: '10',
    file: ['number', 'string'],
    ...seconds(0.1, 3600),
  }),
  option('deliveryTimeoutMs', 'delivery-timeout', {
    description: 'give a batch up after this long without acknowledgement',
    default: '30',
    file: ['number', 'string'],
    ...seconds(1, 3600),
  }),
  option('drainTimeoutMs', 'drain-timeout', {
    description: 'time to flush after TERM or INT',
    default: '20',
    file: ['number', 'string'],
    ...seconds(0, 3600),
  }),
  option('kafkaUsername', 'kafka-username', {
    placeholder: 'NAME',
    description: 'SASL user name; the password comes from OBFEED_KAFKA_PASSWORD',
    expected: 'a user name',
    parse: (text) => text,
  }),
  option('kafkaPassword', 'kafka-password', {
    placeholder: 'SECRET',
    description: 'SASL password; OBFEED_KAFKA_PASSWORD_FILE names a file that holds it',
    expected: 'a password',
    secret: true,
    parse: (text) => text,
  }),
  option('kafkaMechanism', 'kafka-mechanism', {
    placeholder: 'NAME',
    description: 'SASL mechanism: plain, scram-sha-256 or scram-sha-512',
    ...choice('plain', 'scram-sha-256', 'scram-sha-512'),
  }),
  option('kafkaTls', 'kafka-tls', {
    ...boolean,
    description: 'TLS to the brokers',
    default: 'false',
  }),
  option('logLevel', 'log-level', {
    placeholder: 'LEVEL',
    description: 'error, warn, info, debug or trace',
    default: 'info',
    ...choice('error', 'warn', 'info', 'debug', 'trace'),
  }),
  option('logFormat', 'log-format', {
    placeholder: 'FORMAT',
    description: 'text or json; logs go to stderr only',
    default: 'text',
    ...choice('text', 'json'),
  }),
]

/** Where the config file itself is named; it cannot stand in one. */
export const CONFIG_FLAG = 'config'
export const CONFIG_ENV = 'OBFEED_CONFIG'

export function optionOf(key: SettingKey): Option {
  return OPTIONS.find((option) => option.key === key)!
}
