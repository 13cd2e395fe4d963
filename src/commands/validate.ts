/** `obfeed validate`: settings and map, checked without starting anything. */
import { defineCommand } from 'citty'
import type { ResolvedSettings } from '../config/config.ts'
import { resolveSettings, showSetting } from '../config/config.ts'
import { OPTIONS } from '../config/options.ts'
import { print, settingArgs } from './flags.ts'
import { adapterOf, prepare, sharedPartitions } from './prepare.ts'

export default defineCommand({
  meta: {
    name: 'validate',
    description: 'Checks settings and partition map without starting anything',
  },
  args: {
    ...settingArgs(),
    offline: { type: 'boolean', description: 'do not ask the exchange whether the markets exist' },
    'print-effective': {
      type: 'boolean',
      description: 'show each setting with its value and origin (flag, env, file, default)',
    },
    json: { type: 'boolean', description: 'one JSON object' },
  },
  async run({ args }) {
    const resolved = resolveSettings({ flags: args })
    const { settings, origins, warnings } = resolved
    const effective = args['print-effective'] === true
    const json = args['json'] === true
    // Shown before the checks: it is wanted most when one of them fails.
    if (effective && !json) print(renderEffective(resolved))
    const adapter = await adapterOf(settings, origins.exchange)
    const offline = args['offline'] === true
    const { map, symbols } = await prepare(settings, adapter, { offline, isStrict: true })
    const shared = sharedPartitions(symbols)
    if (json) {
      print(JSON.stringify({
        valid: true,
        symbols: symbols.length,
        marketsChecked: !offline,
        warnings,
        shared,
        ...(effective ? { effective: effectiveRows(resolved) } : {}),
      }))
      return
    }
    for (const warning of warnings) print(`warning: ${warning}`)
    for (const { partition, symbols: names } of shared) {
      print(`note: partition ${partition} is shared by ${names.join(', ')}`)
    }
    const checked = offline ? 'not held against the exchange' : `all traded on ${settings.exchange}`
    print(`valid: ${map.path}, ${symbols.length} symbols, ${checked}`)
  },
})

function effectiveRows(
  { settings, origins }: ResolvedSettings,
): { readonly setting: string; readonly value: string; readonly origin: string }[] {
  return OPTIONS.map((option) => ({
    setting: option.fileKey,
    value: showSetting(option, settings),
    origin: origins[option.key],
  }))
}

function renderEffective(resolved: ResolvedSettings): string {
  const rows = effectiveRows(resolved)
  const width = (cells: readonly string[]): number => Math.max(...cells.map((cell) => cell.length))
  const first = width(rows.map(({ setting }) => setting))
  const second = width(rows.map(({ value }) => value))
  return rows
    .map(({ setting, value, origin }) =>
      `${setting.padEnd(first)}  ${value.padEnd(second)}  ${origin}`
    )
    .join('\n')
}
