/** The strict JSON reader: agrees with JSON.parse on what is JSON, and points at what is not. */
import { describe, test } from 'node:test'
import assert from 'node:assert/strict'
import fc from 'fast-check'
import type { JsonNode } from '../../src/config/json.ts'
import { duplicateKeys, parseJson, readNamedFile } from '../../src/config/json.ts'
import { ObfeedError } from '../../src/core/errors.ts'

function plain(node: JsonNode): unknown {
  if (node.kind === 'null') return null
  if (node.kind === 'array') return node.items.map(plain)
  if (node.kind !== 'object') return node.value
  return Object.fromEntries(node.members.map(({ key, value }) => [key, plain(value)]))
}

function messageOf(text: string): string {
  try {
    parseJson(text, 'f.json')
  } catch (error) {
    assert.ok(error instanceof ObfeedError)
    assert.equal(error.exitCode, 78)
    return error.message
  }
  return 'no error'
}

describe('parseJson', () => {
  test('reads what JSON.stringify writes, indented or not', () => {
    const document = fc.record({ value: fc.jsonValue(), indent: fc.constantFrom(0, 2, '\t') })
    fc.assert(fc.property(document, ({ value, indent }) => {
      const text = JSON.stringify(value, null, indent)
      assert.deepEqual(plain(parseJson(text, 'f')), JSON.parse(text))
    }))
  })

  test('refuses exactly what JSON.parse refuses', () => {
    const fragment = fc.constantFrom(
      ...['{', '}', '[', ']', ',', ':', '"a"', '"', '1', '-', '0', '.', 'e', '1.5e+3', 'true'],
      ...['null', ' ', '\n', '\\', '\\u00e9', 'x', '//', "'", '\t'],
    )
    fc.assert(
      fc.property(fc.array(fragment, { maxLength: 9 }), (fragments) => {
        const text = fragments.join('')
        let expected: unknown
        try {
          expected = JSON.parse(text)
        } catch {
          assert.notEqual(messageOf(text), 'no error', text)
          return
        }
        assert.deepEqual(plain(parseJson(text, 'f')), expected)
      }),
      { numRuns: 3000 },
    )
  })

  test('knows line and column of keys and values', () => {
    const root = parseJson('\ufeff{\r\n  "a": 1,\n\t"b": [true,\n"x"]}', 'f')
    assert.equal(root.kind, 'object')
    if (root.kind !== 'object') return
    const [a, b] = root.members
    assert.deepEqual([a!.line, a!.column, a!.value.line, a!.value.column], [2, 3, 2, 8])
    assert.deepEqual([b!.line, b!.column], [3, 2])
    assert.equal(b!.value.kind, 'array')
    if (b!.value.kind !== 'array') return
    assert.deepEqual(b!.value.items.map(({ line, column }) => [line, column]), [[3, 8], [4, 1]])
  })

  const refused: readonly [text: string, message: string][] = [
    ['', 'f.json:1:1: the file is empty, expected JSON'],
    ['{} x', 'f.json:1:4: found "x" after the end of the JSON value; remove it'],
    ['{"a": 1,}', 'f.json:1:9: found "}" after a comma, expected a key; remove the comma'],
    ['[1,]', 'f.json:1:4: found "]" after a comma, expected a value; remove the comma'],
    ['{a: 1}', 'f.json:1:2: found "a", expected a key in double quotes'],
    ["{'a': 1}", 'f.json:1:2: found a single quote, expected a key in double quotes'],
    ['{"a" 1}', 'f.json:1:6: found "1", expected ":" after "a"'],
    ['{"a": 1 "b": 2}', 'f.json:1:9: found """, expected "," or "}"'],
    ['[1 2]', 'f.json:1:4: found "2", expected "," or "]"'],
    ['{"a": NaN}', 'f.json:1:7: found "NaN", expected a value'],
    [
      '{\n"a": \'x\'}',
      'f.json:2:6: found a single quote, expected a value; strings stand in double quotes',
    ],
    ['{"a": 1 // one\n}', 'f.json:1:9: found a comment, JSON has none; remove it'],
    ['{"a', 'f.json:1:2: the string is not closed, expected a double quote on the same line'],
    ['{"a": 01}', 'f.json:1:7: malformed number, expected plain digits such as 12 or 0.5'],
    ['"\\x"', 'f.json:1:2: unknown escape \\x in a string'],
    ['"\\u12"', 'f.json:1:2: malformed escape, expected four hexadecimal digits after \\u'],
    ['"\t"', 'f.json:1:2: found a control character in a string; escape it'],
    ['{"a":', 'f.json:1:6: found the end of the file, expected a value'],
    ['['.repeat(70), 'f.json:1:66: nested deeper than 64 levels'],
  ]
  for (const [text, message] of refused) {
    test(`points at the fault in ${JSON.stringify(text.slice(0, 20))}`, () => {
      assert.equal(messageOf(text), message)
    })
  }

  test('keeps duplicate keys for the caller', () => {
    const root = parseJson('{"a": 1, "b": 2, "a": 3, "a": 4}', 'f')
    assert.ok(root.kind === 'object')
    const found = duplicateKeys(root.members)
    assert.deepEqual(found.map(({ again, first }) => [again.column, first.column]), [
      [18, 2],
      [26, 2],
    ])
  })
})

describe('readNamedFile', () => {
  test('says that a file is missing, exit 66', () => {
    assert.throws(() => readNamedFile('/nonexistent/map.json', 'a map'), {
      message: '/nonexistent/map.json: no such file, expected a map; create it or correct the path',
      exitCode: 66,
    })
  })

  test('says that a folder is no file, exit 66', () => {
    assert.throws(() => readNamedFile('/', 'a map'), {
      message: '/: is a folder, expected a map; name a file in it',
      exitCode: 66,
    })
  })
})
