/**
 * Part of the contract: an instrument may have a name in any script. The exchange of a fixture lists
 * its instruments under other names here; everything else is the same.
 */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { Fixture, Model, ModelFrame } from './fixture.ts'
import { live, Run, started } from './run.ts'

type Rename = (wireSymbol: string) => string

/** Behind the first character: some exchanges give that a meaning. */
const chinese: Rename = (name) => `${name[0]}币安人生${name.slice(1)}`

/** Another letter in place of the second one, of the same low byte: `B` becomes `ł`. */
const sameLowByte: Rename = (name) =>
  name[0] + String.fromCharCode(0x100 + name.charCodeAt(1)) + name.slice(2)

/** With the dash behind it. */
function baseOf(name: string): string {
  return name.slice(0, name.lastIndexOf('-') + 1)
}

/** A text of the exchange (or to it, `back`) with the other names, in either case. */
function translator(names: readonly (readonly [from: string, to: string])[]) {
  const all = names.flatMap(([from, to]) => [
    [from, to],
    [from.toLowerCase(), to.toLowerCase()],
    // Bitfinex has a pair beside its symbol, Coinbase speaks of ETH-USD to who asks for ETH-USDC.
    ...(from[0] === 't' ? [[from.slice(1), to.slice(1)]] : []),
    ...(from.includes('-') ? [[baseOf(from), baseOf(to)]] : []),
  ])
  const make = (pairs: readonly (readonly string[])[]) => {
    const byName = new Map(pairs.map(([from, to]) => [from!, to!]))
    // The longest first: one name may be the beginning of another.
    const any = [...byName.keys()].sort((a, b) => b.length - a.length)
      .map((name) => name.replaceAll(/[^\p{L}\p{N}]/gu, '\\$&')).join('|')
    const pattern = new RegExp(any, 'g')
    return (text: string): string => text.replace(pattern, (name) => byName.get(name)!)
  }
  return { forth: make(all), back: make(all.map(([from, to]) => [to!, from!])) }
}

/** `frames`: what becomes of the text of a frame. */
function modelOf(
  inner: Model,
  frames: (text: string) => string,
  back: (text: string) => string,
): Model {
  const outgoing: ModelFrame[] = []
  const encoder = new TextEncoder()
  const decoder = new TextDecoder()
  const after = <Args extends readonly unknown[]>(call: (...args: Args) => void) => {
    return (...args: Args): void => {
      call(...args)
      for (const frame of inner.outgoing.splice(0)) {
        outgoing.push({ ...frame, bytes: encoder.encode(frames(decoder.decode(frame.bytes))) })
      }
    }
  }
  const { rest } = inner
  return {
    outgoing,
    receive: after((text: string) => inner.receive(back(text))),
    change: after((index, levels) => inner.change(index, levels)),
    idle: after(() => inner.idle()),
    unknown: after(() => inner.unknown()),
    ...(rest === undefined ? {} : {
      rest: (url: string) => frames(rest.call(inner, back(decodeURIComponent(url)))),
    }),
  }
}

export function nameContract(fixture: Fixture): void {
  const { instruments } = fixture

  test('names in any script: every book is the true one, on the fast path', () => {
    const { forth, back } = translator(
      instruments.map(({ wireSymbol }) => [wireSymbol, chinese(wireSymbol)]),
    )
    const renamed: Fixture = {
      ...fixture,
      instruments: instruments.map((one, i) => ({
        ...one,
        symbol: `币安人生${i}/USDT`,
        wireSymbol: chinese(one.wireSymbol),
      })),
      connect: () => modelOf(fixture.connect(), forth, back),
    }
    const run = new Run(renamed)
    live(run)
    run.assertTrue()
    assert.deepEqual(run.listener.suspects, [])
    assert.deepEqual(run.listener.failures, [])
    assert.deepEqual(run.session.stats, { scannerFallbacks: 0, unknownFrames: 0, duplicates: 0 })
    for (const index of instruments.keys()) run.resync(index)
    run.settle()
    run.assertTrue()
    for (const { text, scope, index, quote } of fixture.errors) {
      if (scope !== 'symbol') continue
      const other = started(renamed)
      other.session.received(new TextEncoder().encode(forth(text)), 1)
      const [failure] = other.listener.failures
      assert.equal(failure?.symbol, `币安人生${index}/USDT`, text)
      assert.ok(failure.message.includes(forth(quote)), 'the name is quoted as it is')
    }
  })

  test('a name is the bytes of its whole UTF-8: nothing of another one is taken for it', () => {
    const { wireSymbol } = instruments[0]
    const { back } = translator([[wireSymbol, sameLowByte(wireSymbol)]])
    const run = new Run({
      ...fixture,
      instruments: instruments.map((one, i) =>
        i === 0 ? { ...one, wireSymbol: sameLowByte(wireSymbol) } : one
      ),
      // The exchange goes on to speak of the one that was not asked for.
      connect: () => modelOf(fixture.connect(), (text) => text, back),
    })
    try {
      live(run)
    } catch (error) {
      // A socket that speaks of strangers may be given up.
      if (!run.isGivenUp) throw error
    }
    const taken = run.listener.outputs.filter(({ index, kind }) => index === 0 && kind === 'delta')
    assert.deepEqual(taken, [])
    if (fixture.adapter.protocol.snapshot === 'inband') {
      assert.equal(run.listener.books[0], undefined)
    }
  })
}
