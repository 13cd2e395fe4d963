/** A worker's way to Kafka: publisher, connection and the watch for other publishers. */
import type { WorkerPlan } from '../config/plan.ts'
import type { ObfeedError } from '../core/errors.ts'
import type { Settings } from '../config/settings.ts'
import type { Position } from '../feed/position.ts'
import type { Feed } from '../feed/feed.ts'
import { realEnvironment } from '../feed/environment.ts'
import type { KafkaClient } from '../kafka/client.ts'
import type { LastPublished } from '../kafka/last-published.ts'
import type { RivalWatch } from '../kafka/rivals.ts'
import type { Sink } from '../sinks/sink.ts'
import { log } from '../telemetry/log.ts'
import { kafkaOptions } from './kafka-options.ts'
import type { KafkaStats } from './messages.ts'

/** Said again when looking at the own partitions has failed so often in a row. */
const FAILURES_TOLD = 5

export type KafkaModules = readonly [
  typeof import('../kafka/client.ts'),
  typeof import('../kafka/kafkajs-wire.ts'),
  typeof import('../kafka/publisher.ts'),
  typeof import('../kafka/rivals.ts'),
  typeof import('../kafka/heads.ts'),
  typeof import('../kafka/failure.ts'),
]

/** Loads what a Kafka sink needs; the modules are kept. */
export function loadKafka(): Promise<KafkaModules> {
  return Promise.all([
    import('../kafka/client.ts'),
    import('../kafka/kafkajs-wire.ts'),
    import('../kafka/publisher.ts'),
    import('../kafka/rivals.ts'),
    import('../kafka/heads.ts'),
    import('../kafka/failure.ts'),
  ])
}

export class KafkaSink {
  readonly sink: Sink
  readonly #client: KafkaClient
  readonly #settings: Settings
  readonly #producer: string
  readonly #modules: KafkaModules
  #watch: RivalWatch | undefined

  constructor(settings: Settings, producer: string, modules: KafkaModules) {
    const [{ KafkaClient }, { KafkajsWire }, { Publisher }] = modules
    const { topic, compression } = settings
    this.#settings = settings
    this.#producer = producer
    this.#modules = modules
    this.#client = new KafkaClient(kafkaOptions(settings))
    const wire = new KafkajsWire(this.#client, topic, { compression, producer })
    const narrowed = (bytes: number, error: ObfeedError) =>
      log.warn(`${error.message}; until then batches have at most ${bytes} bytes`)
    this.sink = new Publisher({ ...settings, narrowed }, realEnvironment, wire)
  }

  /** Looks for others on the partitions of `plan`, from now on. */
  watch(feed: Feed, plan: WorkerPlan): void {
    const [, , , { RivalWatch }, { HeadReader }, { protocolError, describeFailure }] = this.#modules
    const client = this.#client
    const { topic, onConflict } = this.#settings
    const partitions = new Set(plan.connections.flat().map(({ partition }) => partition))
    const heads = new HeadReader(client, topic, [...partitions])
    this.#watch = new RivalWatch({
      streams: feed.streams,
      producer: this.#producer,
      isOwn: (id) => client.producerIds.has(id),
      look: (closely) => heads.look(closely),
      epochOf: (stream) => feed.epochOf(stream),
      // An agent that is going to end leaves the books to the other one.
      outrank: (stream, epoch) => onConflict === 'exit' || feed.outrank(stream, epoch),
      failed(error, failures) {
        if (protocolError(error) === 'TOPIC_AUTHORIZATION_FAILED') {
          log.warn(
            `this user may not read topic ${topic}, so another obfeed that publishes the same ` +
              'symbols would go unnoticed; grant it: kafka-acls.sh --bootstrap-server ' +
              `${client.brokers.join(',')} --add --allow-principal User:<user> --operation Read ` +
              `--topic ${topic}`,
          )
          return false
        }
        const level = failures === FAILURES_TOLD ? 'warn' : 'debug'
        log[level](`cannot look for other publishers: ${describeFailure(error)}`)
        return true
      },
    }, realEnvironment)
    this.#watch.start()
  }

  get stats(): KafkaStats {
    const { totalMs, lastMs, untilMs } = this.#client.throttling
    const { failingMs, lastError } = this.#client.reach
    return {
      rivals: this.#watch?.rivals ?? [],
      rivalEpochs: this.#watch?.climbs ?? 0,
      throttledMs: totalMs,
      throttleMs: lastMs,
      isThrottled: untilMs > performance.now(),
      failingMs,
      ...(lastError === undefined ? {} : { lastError }),
    }
  }

  stopWatching(): void {
    this.#watch?.close()
  }
}

/** What a feed wants to know of the topic: what not to begin behind, and which epochs to exceed. */
export function publishedBefore(
  published: Readonly<Record<string, LastPublished>> = {},
): { published: Map<string, Position>; publishedEpochs: Map<string, number> } {
  const positions = new Map<string, Position>()
  const epochs = new Map<string, number>()
  for (const [symbol, { epoch, nonce, timestampMs }] of Object.entries(published)) {
    epochs.set(symbol, epoch)
    positions.set(symbol, {
      nonce: typeof nonce === 'number' ? nonce : -1,
      nonceText: typeof nonce === 'string' ? nonce : undefined,
      timestampMs: timestampMs ?? -1,
    })
  }
  return { published: positions, publishedEpochs: epochs }
}
