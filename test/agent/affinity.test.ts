/** Which CPUs workers get, from canned texts of /proc and /sys. */
import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import {
  allowedCpus,
  chooseCpus,
  cpuQuota,
  findTaskset,
  formatCpuList,
  parseCpuList,
} from '../../src/agent/affinity.ts'
import { type Host, layoutWorkers } from '../../src/agent/layout.ts'
import { ObfeedError } from '../../src/core/errors.ts'

type Files = Readonly<Record<string, string>>

function reader(files: Files): (path: string) => string | undefined {
  return (path) => files[path]
}

function status(allowed: string): string {
  return `Name:\tbun\nCpus_allowed:\tffff\nCpus_allowed_list:\t${allowed}\nMems_allowed_list:\t0\n`
}

/** A host whose CPU `i` shares its core with the CPUs of `siblings(i)`. */
function machine(allowed: string, online: string, siblings: (cpu: number) => string): Files {
  const files: Record<string, string> = {
    '/proc/self/status': status(allowed),
    '/proc/self/cgroup': '0::/\n',
    '/sys/devices/system/cpu/online': `${online}\n`,
  }
  for (const cpu of parseCpuList(online) ?? []) {
    files[`/sys/devices/system/cpu/cpu${cpu}/topology/thread_siblings_list`] = `${siblings(cpu)}\n`
  }
  return files
}

describe('lists of CPUs', () => {
  test('read as the kernel writes them', () => {
    assert.deepEqual(parseCpuList('0-3,8\n'), [0, 1, 2, 3, 8])
    assert.deepEqual(parseCpuList('5'), [5])
    assert.deepEqual(parseCpuList('2,0-1,1'), [0, 1, 2])
    for (const text of ['', 'a', '3-1', '1,,2', '-1', '0-99999']) {
      assert.equal(parseCpuList(text), undefined, text)
    }
  })

  test('written as the kernel would', () => {
    for (const text of ['0-3,8', '5', '0,2,4-6']) {
      assert.equal(formatCpuList(parseCpuList(text)!), text)
    }
    assert.equal(formatCpuList([]), '')
  })
})

describe('CPUs of this process', () => {
  test('are the allowed ones that are online', () => {
    const files = machine('0-7', '0-3,6', (cpu) => `${cpu}`)
    assert.deepEqual(allowedCpus(reader(files)), [0, 1, 2, 3, 6])
  })

  test('are the allowed ones where nothing tells which are online', () => {
    assert.deepEqual(allowedCpus(reader({ '/proc/self/status': status('2-3') })), [2, 3])
  })

  test('are not known without /proc', () => {
    assert.equal(allowedCpus(reader({})), undefined)
    assert.equal(chooseCpus(reader({}), []), undefined)
  })
})

describe('quota', () => {
  test('of cgroup version 2, the tightest of all ancestors', () => {
    const read = reader({
      '/proc/self/cgroup': '0::/system.slice/obfeed.service\n',
      '/sys/fs/cgroup/system.slice/obfeed.service/cpu.max': '400000 100000\n',
      '/sys/fs/cgroup/system.slice/cpu.max': '250000 100000\n',
      '/sys/fs/cgroup/cpu.max': 'max 100000\n',
    })
    assert.equal(cpuQuota(read), 2.5)
  })

  test('of a container that sees only its own cgroup', () => {
    const read = reader({
      '/proc/self/cgroup': '0::/docker/abc\n',
      '/sys/fs/cgroup/cpu.max': '150000 100000\n',
    })
    assert.equal(cpuQuota(read), 1.5)
  })

  test('of cgroup version 1', () => {
    const read = reader({
      '/proc/self/cgroup': '3:cpuset:/\n2:cpu,cpuacct:/a/b\n0::/\n',
      '/sys/fs/cgroup/cpu,cpuacct/a/cpu.cfs_quota_us': '300000\n',
      '/sys/fs/cgroup/cpu,cpuacct/a/cpu.cfs_period_us': '100000\n',
      '/sys/fs/cgroup/cpu,cpuacct/a/b/cpu.cfs_quota_us': '-1\n',
      '/sys/fs/cgroup/cpu,cpuacct/a/b/cpu.cfs_period_us': '100000\n',
    })
    assert.equal(cpuQuota(read), 3)
  })

  test('is unlimited when none is set', () => {
    assert.equal(cpuQuota(reader({ '/proc/self/cgroup': '0::/x\n' })), Infinity)
    assert.equal(cpuQuota(reader({})), Infinity)
  })
})

describe('order of the CPUs', () => {
  /** 8 threads on 4 cores, the siblings 4 apart, as on most x86 servers. */
  const server = machine('0-7', '0-7', (cpu) => `${cpu % 4},${(cpu % 4) + 4}`)

  test('whole cores first, and with four of them the first is left to the parent', () => {
    const cpus = chooseCpus(reader(server), [])!
    assert.deepEqual(cpus.order, [1, 2, 3, 0, 5, 6, 7, 4])
    assert.equal(cpus.automatic, 3)
    assert.equal(cpus.cores, 4)
  })

  test('below four cores every core works', () => {
    const cpus = chooseCpus(reader(machine('0-3', '0-3', (cpu) => `${cpu & 2}-${cpu | 1}`)), [])!
    assert.deepEqual(cpus.order, [0, 2, 1, 3])
    assert.equal(cpus.automatic, 2)
  })

  test('a sibling that is not allowed does not count', () => {
    const cpus = chooseCpus(reader({ ...server, '/proc/self/status': status('4-6') }), [])!
    assert.deepEqual(cpus.order, [4, 5, 6])
    assert.equal(cpus.automatic, 3)
  })

  test('without topology each CPU is a core', () => {
    const cpus = chooseCpus(reader({ '/proc/self/status': status('0-1') }), [])!
    assert.deepEqual(cpus.order, [0, 1])
    assert.equal(cpus.automatic, 2)
  })

  test('requested CPUs are all used, none is held back', () => {
    const cpus = chooseCpus(reader(server), [0, 1, 2, 3, 5, 9])!
    assert.deepEqual(cpus.order, [0, 1, 2, 3, 5])
    assert.equal(cpus.automatic, 4)
    assert.deepEqual(cpus.refused, [9])
  })

  test('none of the requested ones is allowed: exit 78, and the message says what is', () => {
    assert.throws(() => chooseCpus(reader(server), [8, 9]), (error) => {
      assert.ok(error instanceof ObfeedError)
      assert.equal(error.exitCode, 78)
      assert.match(error.message, /8-9 .*allowed are 0-7/)
      return true
    })
  })

  test('the quota bounds what is taken without being asked, never below one', () => {
    const limited = (max: string): number =>
      chooseCpus(reader({ ...server, '/sys/fs/cgroup/cpu.max': max }), [])!.automatic
    assert.equal(limited('250000 100000'), 2)
    assert.equal(limited('50000 100000'), 1)
    assert.equal(limited('max 100000'), 3)
  })
})

test('taskset is looked for in /usr/bin, /bin and PATH', () => {
  const only = (file: string) => (found: string) => found === file
  assert.equal(findTaskset('', only('/usr/bin/taskset')), '/usr/bin/taskset')
  assert.equal(findTaskset('', only('/bin/taskset')), '/bin/taskset')
  assert.equal(findTaskset('/a:/opt/bin', only('/opt/bin/taskset')), '/opt/bin/taskset')
  assert.equal(findTaskset('relative', only('relative/taskset')), undefined)
  assert.equal(findTaskset(undefined, () => false), undefined)
})

describe('layout', () => {
  const auto = { workers: 0, cpus: [], pin: 'auto' } as const
  const host = (files: Files, taskset: string | undefined = '/usr/bin/taskset'): Host => ({
    read: reader(files),
    taskset,
    parallelism: 6,
  })
  const two = machine('0-1', '0-1', (cpu) => `${cpu}`)

  test('one worker per core, never more than symbols', () => {
    assert.equal(layoutWorkers(auto, 50, host(two)).workers, 2)
    const single = layoutWorkers(auto, 1, host(two))
    assert.equal(single.workers, 1)
    assert.deepEqual(single.cpus, [0, 1])
    assert.deepEqual(single.warnings, [])
  })

  test('more workers than CPUs are allowed, and said to be unwise', () => {
    const layout = layoutWorkers({ ...auto, workers: 5 }, 50, host(two))
    assert.equal(layout.workers, 5)
    assert.match(layout.warnings.join(), /5 workers share 2 CPUs/)
  })

  test('without taskset: require ends with 71, auto warns, off is silent', () => {
    const bare = { ...host(two), taskset: undefined }
    assert.throws(
      () => layoutWorkers({ ...auto, pin: 'require' }, 5, bare),
      (error) => error instanceof ObfeedError && error.exitCode === 71,
    )
    const warned = layoutWorkers(auto, 5, bare)
    assert.match(warned.warnings.join(), /not pinned.*taskset/)
    assert.deepEqual([warned.cpus, warned.taskset], [[], undefined])
    assert.deepEqual(layoutWorkers({ ...auto, pin: 'off' }, 5, bare).warnings, [])
  })

  test('off pins nothing although it could', () => {
    const layout = layoutWorkers({ ...auto, pin: 'off' }, 5, host(two))
    assert.deepEqual([layout.cpus, layout.taskset, layout.workers], [[], undefined, 2])
  })

  test('a host that lists no CPUs still gets workers', () => {
    const layout = layoutWorkers(auto, 50, host({}))
    assert.deepEqual([layout.cpus, layout.workers], [[], 6])
    assert.match(layout.warnings.join(), /not pinned/)
  })

  test('a quota below the number of workers is said', () => {
    const throttled = { ...two, '/sys/fs/cgroup/cpu.max': '150000 100000' }
    assert.deepEqual(layoutWorkers(auto, 9, host(throttled)).warnings, [])
    const layout = layoutWorkers({ ...auto, workers: 2 }, 9, host(throttled))
    assert.match(layout.warnings.join(), /grants 1.5 CPUs to 2 workers/)
  })
})
