/** The topic before the start: it exists, has every partition of the map, and suits the data. */
import kafkajs from 'kafkajs'
import type { Admin } from 'kafkajs'
import { EXIT, ObfeedError } from '../core/errors.ts'
import { BRIEF } from './client.ts'
import type { KafkaClient, Session } from './client.ts'
import {
  authorisationError,
  classifyFailure,
  describeFailure,
  protocolError,
  unavailableError,
} from './failure.ts'
import { endSession } from './kafkajs-wire.ts'

export interface TopicRequest {
  readonly topic: string
  /** Highest partition of the map + 1. */
  readonly partitions: number
  /** -1: the cluster's default. */
  readonly replicationFactor: number
  /** May create and grow the topic. */
  readonly manage: boolean
  /** How long no broker may answer; 15,000 when absent. */
  readonly connectTimeoutMs?: number
}

export interface TopicReport {
  readonly action: 'kept' | 'created' | 'grown'
  readonly partitions: number
  /** Of partition 0. */
  readonly replicas: number
  /** What works, but not well. */
  readonly warnings: readonly string[]
}

const CONNECT_TIMEOUT_MS = 15_000
const CREATE_TIMEOUT_MS = 10_000
/** Between two looks at a topic that is being made or grown. */
const POLL_MS = 50

interface Partition {
  readonly leader: number
  readonly replicas: number
}

interface Admission {
  readonly client: KafkaClient
  readonly admin: Admin
  readonly request: TopicRequest
}

/**
 * Checks the topic; with `manage`, creates or grows it. Rejects with an `ObfeedError` whose exit
 * code is 69 (no broker answers), 77 (no rights) or 78 (the topic does not fit) and whose message
 * holds the command that mends it. A look never makes the topic.
 */
export async function ensureTopic(
  client: KafkaClient,
  request: TopicRequest,
): Promise<TopicReport> {
  const { session, admin } = await connectAdmin(client, request)
  try {
    const admission: Admission = { client, admin, request }
    const found = await readPartitions(admission)
    const action = found === undefined
      ? await createTopic(admission)
      : found.length < request.partitions
      ? await growTopic(admission, found.length)
      : 'kept'
    const partitions = action === 'kept' && found !== undefined
      ? found
      : await waitForPartitions(admission)
    return {
      action,
      partitions: partitions.length,
      replicas: partitions[0]?.replicas ?? 0,
      warnings: await findWarnings(admission),
    }
  } finally {
    await endSession(session, admin)
  }
}

/** Tries every address until one answers or the time is over. */
async function connectAdmin(
  client: KafkaClient,
  request: TopicRequest,
): Promise<{ session: Session; admin: Admin }> {
  const deadline = performance.now() + (request.connectTimeoutMs ?? CONNECT_TIMEOUT_MS)
  for (;;) {
    const session = client.session(BRIEF)
    const admin = session.kafka.admin()
    const left = Math.max(1, deadline - performance.now())
    const timer = setTimeout(() => session.abort(), left)
    try {
      await admin.connect()
      return { session, admin }
    } catch (error) {
      session.abort()
      const failure = classifyFailure(client, '', error)
      const isFinal = failure instanceof ObfeedError && failure.code !== 'E_UNAVAILABLE'
      if (isFinal) throw failure
      if (performance.now() >= deadline) throw unavailableError(client, error)
      await pause(POLL_MS * 4)
    } finally {
      clearTimeout(timer)
    }
  }
}

/** Undefined: there is no such topic. */
async function readPartitions(admission: Admission): Promise<Partition[] | undefined> {
  const { admin, client, request: { topic } } = admission
  try {
    const { topics } = await admin.fetchTopicMetadata({ topics: [topic] })
    const found = topics.find(({ name }) => name === topic)
    return found?.partitions.map(({ leader, replicas }) => ({
      leader,
      replicas: replicas.length,
    }))
  } catch (error) {
    switch (protocolError(error)) {
      case 'UNKNOWN_TOPIC_OR_PARTITION':
        return undefined
      case 'LEADER_NOT_AVAILABLE': // just made
        return []
      case 'TOPIC_AUTHORIZATION_FAILED':
        throw authorisationError(client, topic, ['Describe', 'Write'], error)
      case 'INVALID_TOPIC_EXCEPTION':
        throw misfit(
          `${topic} is not a name Kafka allows`,
          'use --topic with letters, digits . _ -',
        )
    }
    throw asUnavailable(client, error)
  }
}

async function createTopic(admission: Admission): Promise<'created'> {
  const { admin, client, request } = admission
  const { topic, partitions, replicationFactor } = request
  const command = `kafka-topics.sh --bootstrap-server ${client.brokers.join(',')} --create ` +
    `--topic ${topic} --partitions ${partitions}` +
    (replicationFactor > 0 ? ` --replication-factor ${replicationFactor}` : '')
  if (!request.manage) {
    throw misfit(`there is no topic ${topic}; expected one with ${partitions} partitions`, command)
  }
  try {
    await admin.createTopics({
      topics: [{ topic, numPartitions: partitions, replicationFactor }],
      timeout: CREATE_TIMEOUT_MS,
      // The client gives up when the topic is not known everywhere at once; `waitForPartitions` waits.
      waitForLeaders: false,
    })
  } catch (error) {
    throw notManaged(client, topic, 'create', command, error)
  }
  return 'created'
}

async function growTopic(admission: Admission, have: number): Promise<'grown'> {
  const { admin, client, request: { topic, partitions, manage } } = admission
  const command = `kafka-topics.sh --bootstrap-server ${client.brokers.join(',')} --alter ` +
    `--topic ${topic} --partitions ${partitions}`
  if (!manage) {
    throw misfit(
      `topic ${topic} has ${have} partition${have === 1 ? '' : 's'}; expected at least ` +
        `${partitions}, the highest one of the map + 1`,
      command,
    )
  }
  try {
    await admin.createPartitions({
      topicPartitions: [{ topic, count: partitions }],
      timeout: CREATE_TIMEOUT_MS,
    })
  } catch (error) {
    // Another obfeed was quicker.
    if (protocolError(error) !== 'INVALID_PARTITIONS') {
      throw notManaged(client, topic, 'grow', command, error)
    }
  }
  return 'grown'
}

/** Until the cluster shows every partition with a leader. */
async function waitForPartitions(admission: Admission): Promise<Partition[]> {
  const { client, request } = admission
  const deadline = performance.now() + CREATE_TIMEOUT_MS
  for (;;) {
    const found = await readPartitions(admission) ?? []
    const led = found.filter(({ leader }) => leader >= 0).length
    if (led >= request.partitions) return found
    if (performance.now() > deadline) {
      throw new ObfeedError(
        'E_UNAVAILABLE',
        `${led} partitions of topic ${request.topic} have a leader; expected ` +
          `${request.partitions}; look at kafka-topics.sh --bootstrap-server ` +
          `${client.brokers.join(',')} --describe --topic ${request.topic}`,
        { scope: 'agent', exitCode: EXIT.unavailable },
      )
    }
    await pause(POLL_MS)
  }
}

async function findWarnings(admission: Admission): Promise<string[]> {
  const { admin, client, request: { topic } } = admission
  let settings: Map<string, string>
  try {
    const { resources } = await admin.describeConfigs({
      includeSynonyms: false,
      resources: [{ type: kafkajs.ConfigResourceTypes.TOPIC, name: topic }],
    })
    settings = new Map(
      resources[0].configEntries.map(({ configName, configValue }) => [configName, configValue]),
    )
  } catch {
    return [] // not permitted everywhere, and not needed
  }
  const warnings: string[] = []
  const warn = (found: string, better: string) => {
    warnings.push(
      `topic ${topic} has ${found}: kafka-configs.sh --bootstrap-server ` +
        `${client.brokers.join(',')} --alter --entity-type topics --entity-name ${topic} ` +
        `--add-config ${better}`,
    )
  }
  const bytesMax = Number(settings.get('max.message.bytes') ?? Infinity)
  if (bytesMax < 1_000_000) {
    warn(
      `max.message.bytes=${bytesMax}, so a batch or a deep snapshot may be refused`,
      'max.message.bytes=1048588',
    )
  }
  const cleanup = settings.get('cleanup.policy') ?? ''
  if (cleanup.includes('compact')) {
    warn(
      `cleanup.policy=${cleanup}, which deletes deltas a consumer needs`,
      'cleanup.policy=delete',
    )
  }
  if (settings.get('message.timestamp.type') === 'LogAppendTime') {
    warn(
      'message.timestamp.type=LogAppendTime, which hides when the event was received',
      'message.timestamp.type=CreateTime',
    )
  }
  return warnings
}

function misfit(found: string, remedy: string, cause?: unknown): ObfeedError {
  return new ObfeedError('E_CONFIG', `${found}; ${remedy}`, {
    scope: 'agent',
    exitCode: EXIT.config,
    cause,
  })
}

function notManaged(
  client: KafkaClient,
  topic: string,
  verb: 'create' | 'grow',
  command: string,
  error: unknown,
): ObfeedError {
  const type = protocolError(error)
  if (type === 'TOPIC_AUTHORIZATION_FAILED' || type === 'CLUSTER_AUTHORIZATION_FAILED') {
    const operation = verb === 'create' ? 'Create' : 'Alter'
    return new ObfeedError(
      'E_CONFIG',
      `this user may not ${verb} topic ${topic}; expected the right ${operation}, or the topic ` +
        `made by someone who has it: ${command}; or grant it: kafka-acls.sh --bootstrap-server ` +
        `${client.brokers.join(',')} --add --allow-principal User:<user> --operation ` +
        `${operation} --topic ${topic}`,
      { scope: 'agent', exitCode: EXIT.permission, cause: error },
    )
  }
  if (type !== undefined) {
    return misfit(
      `Kafka would not ${verb} topic ${topic} (${describeFailure(error)})`,
      command,
      error,
    )
  }
  return asUnavailable(client, error)
}

function asUnavailable(client: KafkaClient, error: unknown): ObfeedError {
  const failure = classifyFailure(client, '', error)
  return failure instanceof ObfeedError ? failure : unavailableError(client, failure)
}

function pause(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms))
}
