/** How the agent's processes reach the cluster, from the settings. */
import type { Settings } from '../config/settings.ts'
import type { KafkaClientOptions } from '../kafka/client.ts'
import { log } from '../telemetry/log.ts'

export function kafkaOptions(settings: Settings): KafkaClientOptions {
  const { brokers, kafkaMechanism, kafkaUsername, kafkaPassword, kafkaTls } = settings
  const login = kafkaMechanism !== undefined && kafkaUsername !== undefined &&
    kafkaPassword !== undefined
  return {
    brokers,
    log: (level, message) => log[level](message),
    ...(login
      ? {
        sasl: { mechanism: kafkaMechanism, username: kafkaUsername, password: kafkaPassword },
      }
      : {}),
    ...(kafkaTls === true ? { tls: true } : {}),
  }
}
