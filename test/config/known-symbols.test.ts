import assert from 'node:assert/strict'
import { readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, test } from 'node:test'
import { knownPath, readKnownSymbols, writeKnownSymbols } from '../../src/config/known-symbols.ts'
import { inTemporaryFolder } from '../support/program.ts'

describe('known symbols', () => {
  test('stand beside the map, of one exchange', () =>
    inTemporaryFolder((folder) => {
      const map = join(folder, 'map.json')
      assert.equal(knownPath(map), join(folder, 'map.known.json'))
      assert.equal(knownPath('map'), 'map.known.json')
      assert.deepEqual(readKnownSymbols(map, 'kraken'), new Set())
      assert.equal(writeKnownSymbols(map, 'kraken', ['B/C', 'A/B']), undefined)
      assert.deepEqual([...readKnownSymbols(map, 'kraken')], ['A/B', 'B/C'])
      assert.deepEqual(readKnownSymbols(map, 'okx'), new Set())
      const before = readFileSync(knownPath(map), 'utf8')
      assert.equal(writeKnownSymbols(map, 'kraken', ['A/B', 'B/C']), undefined)
      assert.equal(readFileSync(knownPath(map), 'utf8'), before)
      assert.deepEqual(readdirSync(folder), ['map.known.json'], 'nothing else is left')
      return Promise.resolve()
    }))

  test('a file that cannot be read knows nothing, one that cannot be written harms nobody', () =>
    inTemporaryFolder((folder) => {
      const map = join(folder, 'map.json')
      for (const text of ['', 'null', '[]', '{"exchange":"okx","symbols":{}}', '{"symbols"']) {
        writeFileSync(knownPath(map), text)
        assert.deepEqual(readKnownSymbols(map, 'okx'), new Set(), text)
      }
      assert.match(writeKnownSymbols(join(folder, 'no', 'map.json'), 'okx', ['A/B'])!, /ENOENT/)
      return Promise.resolve()
    }))
})
