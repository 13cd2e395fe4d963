/** Starting ourselves again: command lines, environments, and IPC through taskset. */
import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { pinnedCommand, sourceCommand, workerEnvironment } from '../../src/agent/runtime.ts'
import {
  formatWorkerArguments,
  parseWorkerArguments,
  WORKER_COMMAND,
} from '../../src/agent/worker-arguments.ts'

const args = ['__worker', '3']

describe('command line of a run from source', () => {
  test('Bun: its flags are kept, ours are not', () => {
    const argv = ['/bin/bun', '/src/main.ts', '--map', 'm.json']
    const own = ['bun', 'run', '--smol', 'src/main.ts', '--map', 'm.json']
    assert.deepEqual(sourceCommand('bun', '/bin/bun', argv, own, args), {
      file: '/bin/bun',
      args: ['run', '--smol', '/src/main.ts', '__worker', '3'],
    })
  })

  test('Deno: the permissions are the same', () => {
    const argv = ['/bin/deno', '/src/main.ts', 'run', '--depth', '5']
    const own = ['deno', 'run', '--allow-net', '-P', 'src/main.ts', 'run', '--depth', '5']
    assert.deepEqual(sourceCommand('deno', '/bin/deno', argv, own, args).args, [
      'run',
      '--allow-net',
      '-P',
      '/src/main.ts',
      '__worker',
      '3',
    ])
  })

  test('a debugger port or a watcher belongs to the parent alone', () => {
    const argv = ['/bin/bun', '/src/main.ts']
    const own = ['bun', '--inspect=9229', '--watch', '--smol', 'src/main.ts']
    const { args: found } = sourceCommand('bun', '/bin/bun', argv, own, args)
    assert.deepEqual(found, ['--smol', '/src/main.ts', '__worker', '3'])
  })

  test('an unreadable command line: Deno gets what it needs, Bun needs nothing', () => {
    const argv = ['/bin/x', '/src/main.ts', '--depth', '5']
    const deno = sourceCommand('deno', '/bin/x', argv, undefined, args).args
    assert.deepEqual(deno.slice(0, 2), ['run', '--no-prompt'])
    assert.ok(deno.includes('--allow-net') && deno.includes('--allow-run'))
    assert.deepEqual(sourceCommand('bun', '/bin/x', argv, undefined, args).args, [
      '/src/main.ts',
      '__worker',
      '3',
    ])
  })
})

test('pinning wraps the command', () => {
  const command = { file: '/proc/1/exe', args }
  assert.deepEqual(pinnedCommand(command, 6, '/usr/bin/taskset'), {
    file: '/usr/bin/taskset',
    args: ['-c', '6', '/proc/1/exe', '__worker', '3'],
  })
})

test('what would change the runtime or speak for the parent is not inherited', () => {
  const kept = { PATH: '/bin', HOME: '/', OBFEED_DEPTH: '5', NODE_EXTRA_CA_CERTS: '/ca.pem' }
  const removed = {
    BUN_OPTIONS: '--preload x',
    BUN_BE_BUN: '1',
    BUN_INSPECT: 'ws://x',
    NODE_OPTIONS: '--inspect',
    NODE_CHANNEL_FD: '3',
    NODE_CHANNEL_SERIALIZATION_MODE: 'json',
    NODE_UNIQUE_ID: '1',
    NOTIFY_SOCKET: '/run/systemd/notify',
    WATCHDOG_USEC: '1',
    WATCHDOG_PID: '1',
    LISTEN_FDS: '1',
    UNSET: undefined,
  }
  assert.deepEqual(workerEnvironment({ ...kept, ...removed }), kept)
})

test('worker arguments survive the command line', () => {
  const worker = { id: 12, exchange: 'coinbase', engine: 'ccxt', sink: 'stdout' } as const
  const [command, ...rest] = formatWorkerArguments(worker)
  assert.equal(command, WORKER_COMMAND)
  assert.deepEqual(parseWorkerArguments(rest), worker)
})
