/** `obfeed run`, the default command: streams until it is stopped. */
import process from 'node:process'
import { defineCommand } from 'citty'
import { runAgent } from '../agent/agent.ts'
import { RESTART_POLICY, type RestartPolicy } from '../agent/restarts.ts'
import { buildInfo } from '../build-info.ts'
import { resolveSettings } from '../config/config.ts'
import { configureLog, flushLog, log } from '../telemetry/log.ts'
import { settingArgs } from './flags.ts'
import { adapterOf } from './prepare.ts'

export default defineCommand({
  meta: {
    name: 'run',
    description: 'Streams proven order books to Kafka, or to stdout, until it is stopped',
  },
  args: settingArgs(),
  async run({ args }) {
    const { settings, origins, warnings } = resolveSettings({ flags: args })
    configureLog({ level: settings.logLevel, format: settings.logFormat, name: 'agent' })
    const adapter = await adapterOf(settings, origins.exchange)
    for (const warning of warnings) log.warn(warning)
    const { version, commit } = buildInfo()
    const exitCode = await runAgent({ settings, adapter, version, commit, policy: testPolicy() })
    await flushLog()
    process.exit(exitCode)
  },
})

/** Tests shorten the times of supervision; a user has no reason to. */
function testPolicy(): RestartPolicy {
  const text = process.env.OBFEED_TEST_RESTART_POLICY
  return text ? { ...RESTART_POLICY, ...JSON.parse(text) } : RESTART_POLICY
}
