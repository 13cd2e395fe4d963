/** `npm ci` on a fresh machine of any platform needs a lock file without holes. */
import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { resolve } from 'node:path'
import { test } from 'node:test'

interface Locked {
  readonly integrity?: string
  readonly dependencies?: Readonly<Record<string, string>>
  readonly devDependencies?: Readonly<Record<string, string>>
  readonly optionalDependencies?: Readonly<Record<string, string>>
}

function locked(): Readonly<Record<string, Locked>> {
  const path = resolve(import.meta.dirname!, '../package-lock.json')
  const { packages } = JSON.parse(readFileSync(path, 'utf8'))
  return packages
}

test('package-lock.json says of every package what its bytes are', () => {
  const entries = Object.entries(locked()).filter(([path]) => path !== '')
  assert.ok(entries.length > 10)
  for (const [path, { integrity }] of entries) {
    assert.match(integrity ?? 'nothing', /^sha512-[A-Za-z0-9+/]{86}==$/, path)
  }
})

test('package-lock.json holds every package that another one names, whatever its platform', () => {
  const packages = locked()
  const missing: string[] = []
  for (const [holder, named] of Object.entries(packages)) {
    const { dependencies, devDependencies, optionalDependencies } = named
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
