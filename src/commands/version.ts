/** `obfeed version`: what this binary is. */
import { defineCommand } from 'citty'
import { buildInfo } from '../build-info.ts'
import { print } from './flags.ts'

export default defineCommand({
  meta: { name: 'version', description: 'Shows version, commit and libraries' },
  args: { json: { type: 'boolean', description: 'one JSON object' } },
  run({ args }) {
    const info = buildInfo()
    print(
      args.json
        ? JSON.stringify(info)
        : `obfeed ${info.version} (${info.target}, commit ${info.commit}, built ${info.buildTime})`,
    )
  },
})
