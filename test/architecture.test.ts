/** The layers and the doors: who may import whom, and which file may know which package. */
import { describe, test } from 'node:test'
import assert from 'node:assert/strict'
import { readdirSync, readFileSync } from 'node:fs'
import { dirname, join, relative, resolve } from 'node:path'

const SRC = resolve(import.meta.dirname!, '../src')

/** Folder -> folders it may import values from (itself always). Types may also come from a sibling named in TYPES. */
const LAYERS: Readonly<Record<string, readonly string[]>> = {
  core: [],
  telemetry: ['core'],
  exchanges: ['core'],
  sinks: ['core'],
  config: ['core', 'exchanges'],
  feed: ['core', 'exchanges', 'sinks'],
  kafka: ['core', 'sinks'],
  orders: ['core'],
  simulator: ['core'],
  strategy: ['core', 'kafka', 'orders'],
  agent: ['core', 'config', 'exchanges', 'feed', 'kafka', 'sinks', 'telemetry'],
  commands: [
    'agent',
    'config',
    'core',
    'exchanges',
    'feed',
    'kafka',
    'orders',
    'simulator',
    'sinks',
    'strategy',
    'telemetry',
  ],
}
/** Type-only imports that may cross, because the other side defines the plain data it takes. */
const TYPES: Readonly<Record<string, readonly string[]>> = {
  config: ['feed', 'orders'],
  feed: ['config'],
  telemetry: ['agent', 'config', 'feed'],
  kafka: ['config'],
  // Orders are told in the words of the contract that strategies are written in.
  orders: ['strategy'],
}
/** Package -> files that may import its code, as path prefixes below src/. */
const DOORS: Readonly<Record<string, readonly string[]>> = {
  ccxt: ['exchanges/ccxt-classes.ts', 'feed/markets.ts'],
  kafkajs: ['kafka/'],
  lz4js: ['kafka/codecs.ts'],
  snappyjs: ['kafka/codecs.ts'],
  ws: ['feed/connection.ts', 'simulator/'],
  citty: ['main.ts', 'commands/'],
  consola: ['telemetry/log.ts'],
}

/** Files beside the exchanges that are none: the contract, the registry, what adapters share. */
const SHARED = ['adapter', 'decode', 'deferral', 'index', 'listing', 'said', 'warm-frames']

interface Import {
  readonly specifier: string
  readonly typeOnly: boolean
}

function importsOf(text: string): Import[] {
  const imports: Import[] = []
  const statement = /^\s*(?:import|export)\s+(type\s+)?(?:[^'"`;]*?\sfrom\s+)?['"]([^'"]+)['"]/gm
  for (const match of text.matchAll(statement)) {
    imports.push({ specifier: match[2]!, typeOnly: match[1] !== undefined })
  }
  for (const match of text.matchAll(/\b(?:import|require)\(\s*['"]([^'"]+)['"]\s*\)/g)) {
    imports.push({ specifier: match[1]!, typeOnly: false })
  }
  return imports
}

/** What is wrong with one source file, one line a problem. */
function problemsOf(path: string, text: string): string[] {
  const problems: string[] = []
  const folder = path.includes('/') ? path.slice(0, path.indexOf('/')) : ''
  for (const { specifier: written, typeOnly } of importsOf(text)) {
    // A path into a package is an import of that package.
    const specifier = written.replace(/^.*\/node_modules\//, '')
    if (specifier.startsWith('.')) {
      const target = relative(SRC, resolve(SRC, dirname(path), specifier))
      if (target.startsWith('..')) continue
      const targetFolder = target.includes('/') ? target.slice(0, target.indexOf('/')) : ''
      // Files at the top (main, build-info) stand above and below everything by name, not by rule.
      if (folder === '' || targetFolder === '' || folder === targetFolder) continue
      const allowed = LAYERS[folder]
      if (allowed === undefined) problems.push(`${path}: folder ${folder} has no layer`)
      else if (
        !allowed.includes(targetFolder) && !(typeOnly && TYPES[folder]?.includes(targetFolder))
      ) {
        problems.push(`${path}: imports ${target}, ${folder} may import ${allowed.join(', ')}`)
      }
    } else if (!specifier.startsWith('node:') && !specifier.endsWith('/package.json')) {
      const name = specifier.startsWith('@')
        ? specifier.split('/').slice(0, 2).join('/')
        : specifier.split('/')[0]!
      const doors = DOORS[name]
      if (doors === undefined) problems.push(`${path}: imports ${specifier}, which has no door`)
      else if (!doors.some((door) => path.startsWith(door))) {
        problems.push(`${path}: imports ${name}, its door is ${doors.join(', ')}`)
      }
    }
  }
  for (const { specifier, typeOnly } of importsOf(text)) {
    // They only declare: a value imported from them would be missing when the program runs.
    if (/\/(contract|declarations)\.ts$/.test(specifier) && !typeOnly) {
      problems.push(`${path}: imports values from ${specifier}, which has types only`)
    }
  }
  if (/\b(TODO|FIXME|XXX|HACK)\b/.test(text)) problems.push(`${path}: has a leftover marker`)
  if (/:\s*any\b|\bas any\b|@ts-ignore|@ts-nocheck/.test(text)) {
    problems.push(`${path}: has a type hole`)
  }
  return problems
}

function sources(): string[] {
  return readdirSync(SRC, { recursive: true, encoding: 'utf8' })
    .filter((path) => path.endsWith('.ts'))
    .sort()
}

describe('architecture', () => {
  test('imports point down and packages stay behind their doors', () => {
    const problems = sources().flatMap((path) =>
      problemsOf(path, readFileSync(join(SRC, path), 'utf8'))
    )
    assert.deepEqual(problems, [])
  })

  test('the rules bite', () => {
    assert.match(
      problemsOf('core/x.ts', `import { a } from '../feed/feed.ts'`)[0]!,
      /core may import/,
    )
    assert.match(problemsOf('feed/x.ts', `import ccxt from 'ccxt'`)[0]!, /its door is/)
    assert.match(problemsOf('feed/x.ts', `const c = await import('ccxt')`)[0]!, /its door is/)
    assert.match(problemsOf('agent/x.ts', `import x from 'lodash'`)[0]!, /no door/)
    assert.match(
      problemsOf('feed/x.ts', `import { a } from '../config/a.ts'`)[0]!,
      /feed may import/,
    )
    assert.deepEqual(problemsOf('feed/x.ts', `import type { A } from '../config/a.ts'`), [])
    assert.match(problemsOf('core/x.ts', 'const x: any = 1')[0]!, /type hole/)
  })

  test('one exchange is one file and one registry line', () => {
    const files = sources()
      .filter((path) => path.startsWith('exchanges/'))
      .map((path) => path.slice('exchanges/'.length, -3))
      .filter((name) => !SHARED.includes(name))
      // One adapter for all exchanges of the long tail; its parts are no exchanges.
      .filter((name) => !name.startsWith('ccxt'))
    const registry = readFileSync(join(SRC, 'exchanges/index.ts'), 'utf8')
    const registered = [...registry.matchAll(/from '\.\/(\w+)\.ts'/g)]
      .map((match) => match[1]!)
      .filter((name) => name !== 'adapter' && name !== 'ccxt')
    assert.deepEqual(registered.sort(), files.sort())
  })
})
