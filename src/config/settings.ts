/** What `run` was asked to do, after flags, environment, file and defaults were merged. */
import type { Engine } from '../exchanges/index.ts'

export type LogLevel = 'error' | 'warn' | 'info' | 'debug' | 'trace'
export type LogFormat = 'text' | 'json'
export type Compression = 'none' | 'gzip' | 'snappy' | 'lz4' | 'zstd' | 'auto'
export type KafkaMechanism = 'plain' | 'scram-sha-256' | 'scram-sha-512'

/** Plain data: it travels to the workers as JSON. Durations in ms. */
export interface Settings {
  /** ccxt exchange id of today; a former one was replaced. */
  readonly exchange: string
  readonly engine: Engine
  readonly map: string
  /** A symbol that is not traded at present ends the start. */
  readonly strictMap: boolean
  readonly sink: 'kafka' | 'stdout'
  readonly brokers: readonly string[]
  /** Template already filled in: `coinbase-orderbook`. */
  readonly topic: string
  /** Replicas of a topic that obfeed creates; -1 = the cluster's default. */
  readonly replicationFactor: number
  /** Create or grow the topic when it does not fit. */
  readonly manageTopic: boolean
  /** Of record batches; `auto` = the best this runtime can write. */
  readonly compression: Compression
  /** What to do when another obfeed publishes the same symbols to the topic. */
  readonly onConflict: 'take-over' | 'exit'
  /** Levels a side; 0 = full. */
  readonly depth: number
  readonly publish: 'delta' | 'book'
  readonly snapshotIntervalMs: number
  /** 0 = auto: one per usable physical core. */
  readonly workers: number
  /** Allowed CPUs; empty = all that the process may use. */
  readonly cpus: readonly number[]
  readonly pin: 'auto' | 'require' | 'off'
  /** Replaces scheme, host and port (a path is put in front). */
  readonly wsUrl?: string
  readonly restUrl?: string
  /** `host:port` of the status server, or `off`. */
  readonly http: string
  /** Without the status server the agent does not run. */
  readonly httpRequired: boolean
  readonly whenFull: 'conflate' | 'block' | 'exit'
  readonly queueBytesMax: number
  readonly queueAgeMsMax: number
  /** After this long without acknowledgement a batch is given up and its symbols start a new epoch. */
  readonly deliveryTimeoutMs: number
  /** SASL, all three or none. The password never comes from a flag and is never printed. */
  readonly kafkaUsername?: string
  readonly kafkaPassword?: string
  readonly kafkaMechanism?: KafkaMechanism
  /** TLS to the brokers, with the certificate authorities of the runtime. Absent: plain text. */
  readonly kafkaTls?: boolean
  readonly drainTimeoutMs: number
  readonly logLevel: LogLevel
  readonly logFormat: LogFormat
}
