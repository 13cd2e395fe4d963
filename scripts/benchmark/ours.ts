/** The measured program of this project: the session, book, view, encoder and a lane. */
import process from 'node:process'
import { DECODE, LANE, nowUs, Pipe } from '../../src/commands/bench-pipe.ts'
import type { Instrument } from '../../src/core/instrument.ts'
import { coinbase } from '../../src/exchanges/coinbase.ts'
import {
  jobFrames,
  measureFrames,
  measureMemory,
  PRODUCT,
  productName,
  readJob,
} from './measure.ts'

const DEPTH = 1000

function instrument(wireSymbol: string): Instrument {
  return { symbol: wireSymbol.replace('-', '/'), wireSymbol, priceDecimals: 2, sizeDecimals: 8 }
}

const job = readJob(process.argv.slice(2))
if (job.mode === 'memory') {
  const instruments = Array.from({ length: job.count + 1 }, (_, i) => instrument(productName(i)))
  const pipe = new Pipe(coinbase, instruments, DEPTH, LANE)
  measureMemory(job, (_product, frame) => pipe.session.received(frame, nowUs()))
  const loaded = pipe.books.filter((book) => book.bidCount === job.levels).length
  if (loaded !== instruments.length) throw new Error(`${loaded} of ${instruments.length} loaded`)
} else {
  const frames = jobFrames(job)
  const stage = job.mode === 'decode' ? DECODE : LANE
  let pipe: Pipe | undefined
  measureFrames(frames, () => {
    const { session } = pipe = new Pipe(coinbase, [instrument(PRODUCT)], DEPTH, stage)
    session.received(frames.snapshot, nowUs())
    return (frame) => session.received(frame, nowUs())
  })
  // A frame that took the slow route would not be what is claimed to be measured.
  if (pipe === undefined || pipe.session.stats.scannerFallbacks > 0) throw new Error('fallbacks')
  process.stderr.write(`${pipe.events} events, ${pipe.bytes} bytes\n`)
}
