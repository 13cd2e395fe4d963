/** `npm ci` on a fresh machine of any platform needs a lock file without holes. */
import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { resolve } from 'node:path'
import { test } from 'node:test'

interface Locked {
  readonly dependencies?: Readonly<Record<string, string>>
  readonly devDependencies?: Readonly<Record<string, string>>
  readonly optionalDependencies?: Readonly<Record<string, string>>
}

test('package-lock.json holds every package that another one names, whatever its platform', () => {
  const path = resolve(import.meta.dirname!, '../package-lock.json')
  const { packages } = JSON.parse(readFileSync(path, 'utf8')) as {
    packages: Record<string, Locked>
  }
  const missing: string[] = []
  for (const [holder, locked] of Object.entries(packages)) {
    const { dependencies, devDependencies, optionalDependencies } = locked
    for (
      const name of Object.keys({ ...dependencies, ...devDependencies, ...optionalDependencies })
    ) {
      if (!packages[`${holder}/node_modules/${name}`] && !packages[`node_modules/${name}`]) {
        missing.push(`${name} of ${holder || 'package.json'}`)
      }
    }
  }
  assert.deepEqual(missing, [])
})
