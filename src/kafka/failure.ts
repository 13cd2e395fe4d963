/** What a failure reported by the client library means to the user, and the remedy. */
import { EXIT, ObfeedError } from '../core/errors.ts'
import { foreignError, foreignText } from '../core/foreign-text.ts'
import type { KafkaClient } from './client.ts'

interface Found {
  readonly name?: string
  readonly type?: string
  readonly message?: string
  readonly retriable?: boolean
  readonly code?: string | number
  readonly cause?: unknown
  readonly originalError?: unknown
  readonly errors?: readonly unknown[]
}

/** The errors inside an error, outermost first; kafkajs wraps up to three times. */
function* chain(error: unknown): Generator<Found> {
  const queue: unknown[] = [error]
  const seen = new Set<unknown>()
  while (queue.length > 0) {
    const next = queue.shift()
    if (typeof next !== 'object' || next === null || seen.has(next)) continue
    seen.add(next)
    const found = next as Found
    yield found
    queue.push(found.originalError, found.cause, ...(found.errors ?? []))
  }
}

/** The protocol's name of the failure, `TOPIC_AUTHORIZATION_FAILED`, when there is one. */
export function protocolError(error: unknown): string | undefined {
  for (const found of chain(error)) if (found.type !== undefined) return found.type
  return undefined
}

export function describeFailure(error: unknown): string {
  return foreignError(error)
}

function principalHint(client: KafkaClient): string {
  return `--bootstrap-server ${client.brokers.join(',')} --add --allow-principal User:<user>`
}

/** The grant that a producer (or a reader) of the topic lacks. */
export function authorisationError(
  client: KafkaClient,
  topic: string,
  operations: readonly string[],
  cause: unknown,
): ObfeedError {
  const grants = operations.map((operation) => `--operation ${operation}`).join(' ')
  return new ObfeedError(
    'E_SINK',
    `Kafka refused access to topic ${topic} (${describeFailure(cause)}); expected the rights ` +
      `${operations.join(', ')}; grant them: kafka-acls.sh ${principalHint(client)} ${grants} ` +
      `--topic ${topic}`,
    { scope: 'agent', exitCode: EXIT.permission, cause },
  )
}

export function unavailableError(client: KafkaClient, cause: unknown): ObfeedError {
  const advertised = client.reach.unreachableAdvertised()
  if (advertised !== undefined) {
    return new ObfeedError(
      'E_UNAVAILABLE',
      `Kafka answers at ${
        client.brokers.join(', ')
      }, but names addresses for its brokers that this ` +
        `host cannot reach: ${advertised}; expected addresses that work from here; set ` +
        'advertised.listeners on those brokers, or make their names resolve on this host',
      { scope: 'agent', exitCode: EXIT.unavailable, cause },
    )
  }
  return new ObfeedError(
    'E_UNAVAILABLE',
    `no Kafka broker answers at ${client.brokers.join(', ')} ` +
      `(${client.reach.reasons() ?? describeFailure(cause)}); ` +
      'expected at least one that does; start Kafka, or name others with --brokers HOST:PORT,...',
    { scope: 'agent', exitCode: EXIT.unavailable, cause },
  )
}

function refusedError(message: string, cause: unknown): ObfeedError {
  return new ObfeedError('E_SINK', message, { scope: 'agent', exitCode: EXIT.config, cause })
}

/**
 * The error to pass on: an `ObfeedError` when trying again cannot help, `E_UNAVAILABLE` when the
 * cluster could not be reached, else what it was.
 */
export function classifyFailure(client: KafkaClient, topic: string, error: unknown): Error {
  if (error instanceof ObfeedError) return error
  switch (protocolError(error)) {
    case 'TOPIC_AUTHORIZATION_FAILED':
    case 'CLUSTER_AUTHORIZATION_FAILED': // a missing grant looks like this to idempotent producers
    case 'TRANSACTIONAL_ID_AUTHORIZATION_FAILED':
      return authorisationError(client, topic, ['Write', 'Describe'], error)
    case 'MESSAGE_TOO_LARGE':
    case 'RECORD_LIST_TOO_LARGE': // larger than a segment
      return new ObfeedError(
        'E_TOO_LARGE',
        `topic ${topic} refused a record batch as too large; expected max.message.bytes and ` +
          'segment.bytes of at least 1048588; ' +
          `kafka-configs.sh --bootstrap-server ${client.brokers.join(',')} ` +
          `--alter --entity-type topics --entity-name ${topic} ` +
          '--add-config max.message.bytes=1048588',
        { scope: 'agent', exitCode: EXIT.config, cause: error },
      )
    case 'INVALID_TIMESTAMP':
      return refusedError(
        `topic ${topic} refused the record timestamps; expected this host's clock within the ` +
          "topic's message.timestamp.before/after.max.ms; check NTP on this host and the brokers",
        error,
      )
  }
  for (const found of chain(error)) {
    if (found.name === 'KafkaJSSASLAuthenticationError') {
      return new ObfeedError(
        'E_SINK',
        `Kafka at ${client.brokers.join(', ')} refused the login (${
          foreignText(found.message ?? '')
        }); expected a ` +
          'user it knows; check the credentials',
        { scope: 'agent', exitCode: EXIT.permission, cause: error },
      )
    }
    if (
      found.name === 'KafkaJSConnectionError' || found.name === 'KafkaJSConnectionClosedError' ||
      found.name === 'KafkaJSRequestTimeoutError' || found.name === 'KafkaJSBrokerNotFound' ||
      found.name === 'KafkaJSNumberOfRetriesExceeded'
    ) {
      return unavailableError(client, error)
    }
  }
  return error instanceof Error ? error : new Error(String(error))
}
