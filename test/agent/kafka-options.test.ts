/** What the client library says is passed on, but not over and over. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { kafkaOptions, quietly } from '../../src/agent/kafka-options.ts'
import type { Settings } from '../../src/config/settings.ts'

test('the same message comes through once in 30 s, with the number of those held back', () => {
  let now = 0
  const lines: string[] = []
  const log = quietly((level, message, n) => lines.push(`${level} ${message} ${n}`), () => now)
  for (; now < 30_000; now += 1000) log('warn', 'refused')
  log('info', 'other')
  log('warn', 'refused')
  assert.deepEqual(lines, ['warn refused 0', 'info other 0', 'warn refused 29'])
})

test('a login is used only when it is whole', () => {
  const settings = { brokers: ['k:9092'], kafkaUsername: 'u', kafkaTls: false } as
    & Partial<Settings>
    & Pick<Settings, 'brokers'>
  assert.equal(kafkaOptions(settings as Settings).sasl, undefined)
  const whole = { ...settings, kafkaPassword: 'p', kafkaMechanism: 'plain' } as Settings
  assert.deepEqual(kafkaOptions(whole).sasl, {
    mechanism: 'plain',
    username: 'u',
    password: 'p',
  })
  assert.equal(kafkaOptions({ ...whole, kafkaTls: true }).tls, true)
})
