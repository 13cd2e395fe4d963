/** `scripts/worlds` as it is used: in one process and in several. */
import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { describe, test } from 'node:test'
import { fileURLToPath } from 'node:url'

const RUN = fileURLToPath(new URL('run.ts', import.meta.url))
const SLOW = { timeout: 120_000 }

function run(...flags: string[]): { readonly lines: string[]; readonly code: number | null } {
  const { stdout, status } = spawnSync(process.execPath, [RUN, ...flags], { encoding: 'utf8' })
  return { lines: stdout.trimEnd().split('\n'), code: status }
}

/** But for how long it took. */
function outcome(line: string): string {
  return line.replace(/: [\d.]+ seeds\/s, [\d.]+ s for/, '')
}

describe('scripts/worlds --jobs', () => {
  test('adds up to what one process finds', SLOW, () => {
    const one = run('--seeds', '7', '--from', '20')
    const three = run('--seeds', '7', '--from', '20', '--jobs', '3')
    assert.deepEqual([one.code, three.code], [0, 0])
    assert.deepEqual(three.lines.map(outcome), one.lines.map(outcome))
    assert.match(one.lines.at(-1)!, /^7 worlds, 0 failed: /)
  })

  test('shows every seed that fails, and fails', SLOW, () => {
    const flags = ['--seeds', '6', '--from', '1', '--bug', 'keep-epoch', '--exchange', 'okx']
    const failed = ({ lines }: { readonly lines: string[] }) =>
      lines.filter((line) => line.startsWith('./scripts/worlds')).sort()
    const two = run(...flags, '--jobs', '2')
    assert.equal(two.code, 1)
    assert.ok(failed(two).length > 1)
    assert.deepEqual(failed(two), failed(run(...flags)))
  })
})
