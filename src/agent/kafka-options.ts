/** How the agent's processes reach the cluster, from the settings. */
import type { Settings } from '../config/settings.ts'
import type { KafkaClientOptions, KafkaLog } from '../kafka/client.ts'
import { log } from '../telemetry/log.ts'

/** While a broker is away the client library says the same thing several times a second. */
const QUIET_MS = 30_000
/** Messages hold addresses and numbers: so many different ones are remembered at most. */
const REMEMBERED_MAX = 200

export function kafkaOptions(settings: Settings): KafkaClientOptions {
  const { brokers, kafkaMechanism, kafkaUsername, kafkaPassword, kafkaTls } = settings
  const hasLogin = kafkaMechanism !== undefined && kafkaUsername !== undefined &&
    kafkaPassword !== undefined
  return {
    brokers,
    log: quietly((level, message, repeated) =>
      // What it means is said in our own words.
      log[level === 'error' || level === 'warn' ? 'debug' : level](
        message,
        repeated > 0 ? { repeated } : undefined,
      )
    ),
    ...(hasLogin
      ? {
        sasl: { mechanism: kafkaMechanism, username: kafkaUsername, password: kafkaPassword },
      }
      : {}),
    ...(kafkaTls === true ? { tls: true } : {}),
  }
}

/** Passes a message on once in a while, with how often it was held back before. */
export function quietly(
  write: (level: Parameters<KafkaLog>[0], message: string, repeated: number) => void,
  nowMs: () => number = () => performance.now(),
): KafkaLog {
  const said = new Map<string, { atMs: number; repeated: number }>()
  return (level, message) => {
    const last = said.get(message)
    const now = nowMs()
    if (last !== undefined && now - last.atMs < QUIET_MS) {
      last.repeated++
      return
    }
    if (said.size >= REMEMBERED_MAX) said.clear()
    said.set(message, { atMs: now, repeated: 0 })
    write(level, message, last?.repeated ?? 0)
  }
}
