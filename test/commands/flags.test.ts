/** The strictness that citty lacks: every way a command line can be wrong, once. */
import { describe, test } from 'node:test'
import assert from 'node:assert/strict'
import fc from 'fast-check'
import type { ArgsDef } from 'citty'
import { runCommand } from 'citty'
import { integerFlag, numberFlag, settingArgs, strictArgs } from '../../src/commands/flags.ts'
import { ObfeedError } from '../../src/core/errors.ts'

const ARGS = {
  name: { type: 'positional', description: 'who', required: false },
  depth: { type: 'string', valueHint: 'N' },
  kind: { type: 'enum', options: ['delta', 'book'] },
  json: { type: 'boolean' },
  symbol: { type: 'string', alias: 's' },
} satisfies ArgsDef

function normal(...words: string[]): string[] {
  return strictArgs(words, ARGS, 'obfeed x')
}

function refusal(words: readonly string[], args: ArgsDef = ARGS): string {
  try {
    strictArgs(words, args, 'obfeed x')
  } catch (error) {
    assert.ok(error instanceof ObfeedError, String(error))
    assert.deepEqual([error.code, error.exitCode], ['E_USAGE', 64])
    return error.message
  }
  return 'accepted'
}

describe('strictArgs', () => {
  test('brings every way of writing into one form', () => {
    assert.deepEqual(normal('--depth', '5', '--json', 'me'), ['--depth=5', '--json', '--', 'me'])
    assert.deepEqual(normal('--depth=5', '--no-json'), ['--depth=5', '--no-json'])
    assert.deepEqual(normal('-s', 'A/B'), ['--symbol=A/B'])
    assert.deepEqual(normal('-s=A/B'), ['--symbol=A/B'])
    assert.deepEqual(normal('--depth', '-1'), ['--depth=-1'])
    assert.deepEqual(normal('--depth=--json'), ['--depth=--json'])
    assert.deepEqual(normal('--', '--json'), ['--', '--json'])
  })

  test('citty reads from it what was written, whatever the values', async () => {
    const value = fc.string({ minLength: 1 }).filter((text) => !text.startsWith('-'))
    await fc.assert(
      fc.asyncProperty(value, value, fc.boolean(), async (depth, name, json) => {
        let seen: unknown
        const rawArgs = strictArgs(
          ['--depth', depth, json ? '--json' : '--no-json', name],
          ARGS,
          'obfeed x',
        )
        const run = ({ args }: { args: Record<string, unknown> }): void => {
          seen = [args['depth'], args['json'], args['name'], args['kind']]
        }
        await runCommand({ args: ARGS as ArgsDef, run }, { rawArgs })
        assert.deepEqual(seen, [depth, json, name, undefined])
      }),
    )
  })

  const cases: readonly [words: string[], message: string][] = [
    [['--dpeth', '5'], 'unknown flag --dpeth; did you mean --depth?'],
    [['--no-jsn'], 'unknown flag --no-jsn; did you mean --no-json?'],
    [['--no-depth'], 'unknown flag --no-depth; did you mean --depth?'],
    [['--zzzzzzzz'], 'unknown flag --zzzzzzzz; `obfeed x --help` lists them'],
    [['-z'], 'unknown flag -z; `obfeed x --help` lists them'],
    [['--depth'], '--depth has no value, expected --depth N'],
    [['--depth', '--json'], '--depth has no value, expected --depth N'],
    [['--depth='], '--depth was empty, expected --depth N'],
    [['--depth', ''], '--depth was empty, expected --depth N'],
    [['--depth', '1', '--depth', '2'], '--depth was given twice, expected once; remove one'],
    [['--json', '--no-json'], '--no-json was given twice, expected once; remove one'],
    [
      ['--json=false'],
      '--json was given the value "false", expected none; write --json or ' +
      '--no-json',
    ],
    [['--kind', 'boook'], '--kind was "boook", expected one of delta, book; did you mean book?'],
    [['a', 'b'], '"b" was not expected after `obfeed x`; remove it'],
    [['a', 'json'], '"json" was not expected after `obfeed x`; did you mean --json?'],
  ]
  for (const [words, message] of cases) {
    test(`refuses ${JSON.stringify(words)}`, () => assert.equal(refusal(words), message))
  }

  test('refuses that something required is missing', () => {
    const args = {
      who: { type: 'positional' },
      depth: { type: 'string', required: true, valueHint: 'N' },
    } satisfies ArgsDef
    assert.equal(refusal([], args), '<who> is missing, expected `obfeed x <who>`')
    assert.equal(refusal(['me'], args), '--depth is missing, expected --depth N')
  })

  test('tells where a secret belongs', () => {
    assert.equal(
      refusal(['--kafka-password', 'x'], settingArgs()),
      '--kafka-password is no flag: a secret on the command line is visible to everyone on this ' +
        'host; set OBFEED_KAFKA_PASSWORD or OBFEED_KAFKA_PASSWORD_FILE',
    )
  })
})

describe('settingArgs', () => {
  test('declares the settings asked for, and --config', () => {
    assert.deepEqual(Object.keys(settingArgs(['exchange', 'kafkaPassword'])), [
      'exchange',
      'config',
    ])
  })
})

describe('numbers', () => {
  const range = { min: -1, max: 10 }

  test('are read in range', () => {
    assert.equal(integerFlag('n', '-1', range), -1)
    assert.equal(numberFlag('n', '0.5', range), 0.5)
    assert.equal(integerFlag('n', undefined, range), undefined)
    assert.equal(numberFlag('n', undefined, range), undefined)
  })

  test('are refused otherwise, exit 64', () => {
    for (const text of ['11', '1.5', 'x', '0x1', '1e1', ' 1']) {
      assert.throws(() => integerFlag('n', text, range), {
        message: `--n was "${text}", expected an integer from -1 to 10`,
        exitCode: 64,
      })
    }
    assert.throws(() => numberFlag('n', 'NaN', range), {
      message: '--n was "NaN", expected a number from -1 to 10',
      exitCode: 64,
    })
  })
})
