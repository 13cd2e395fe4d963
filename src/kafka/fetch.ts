/**
 * One fetch request and what came back for each partition, as bytes: an error of one partition, or
 * records of it that cannot be read, are not those of the others.
 */
import { Buffer } from 'node:buffer'
import fetchRequests from 'kafkajs/src/protocol/requests/fetch/index.js'
import protocolErrors from 'kafkajs/src/protocol/error.js'
import type { FetchBroker } from './kafkajs-internals.ts'

export interface FetchPosition {
  readonly partition: number
  readonly offset: number
  /** At least one batch comes whole for the first partition that has one, whatever its size. */
  readonly bytesMax: number
}

export interface FetchRequest {
  readonly topic: string
  readonly positions: readonly FetchPosition[]
  readonly waitMs: number
  readonly bytesMax: number
}

export interface FetchedPartition {
  readonly partition: number
  /** Of the protocol, 0: none. */
  readonly errorCode: number
  /** Offset behind the last record that a consumer may read; -1: not known. */
  readonly end: number
  /** Batches as stored; the last one may be cut. A view of the response. */
  readonly records: Uint8Array
}

const FETCH_KEY = 1
const READ_UNCOMMITTED = 0

type Protocol = (request: unknown) => {
  readonly request: { readonly apiVersion: number }
  readonly requestTimeout: number
}

/** @throws what the client library throws when no answer came. */
export async function fetchPartitions(
  broker: FetchBroker,
  asked: FetchRequest,
): Promise<FetchedPartition[]> {
  const protocol = broker.lookupRequest(FETCH_KEY, fetchRequests) as Protocol
  const { request, requestTimeout } = protocol({
    maxWaitTime: asked.waitMs,
    minBytes: asked.waitMs === 0 ? 0 : 1,
    maxBytes: asked.bytesMax,
    isolationLevel: READ_UNCOMMITTED,
    topics: [{
      topic: asked.topic,
      partitions: asked.positions.map(({ partition, offset, bytesMax }) => ({
        partition,
        fetchOffset: String(offset),
        maxBytes: bytesMax,
      })),
    }],
  })
  const response = {
    decode: (bytes: Uint8Array) => Promise.resolve(decodeResponse(bytes, request.apiVersion)),
    parse: (decoded: unknown) => Promise.resolve(decoded),
  }
  const answer = await broker.connectionPool.send({ request, response, requestTimeout })
  const { errorCode, partitions } = answer as Decoded
  if (errorCode !== 0) throw errorOf(errorCode)
  return partitions
}

/** The client library's error for a code of the protocol. */
export function errorOf(code: number): Error {
  return (protocolErrors as { createErrorFromCode(code: number): Error }).createErrorFromCode(code)
}

interface Decoded {
  /** As the client library wants to read it. */
  readonly clientSideThrottleTime: number
  readonly errorCode: number
  readonly partitions: FetchedPartition[]
}

/** Versions 4 to 11. */
function decodeResponse(payload: Uint8Array, version: number): Decoded {
  const bytes = Buffer.from(payload.buffer, payload.byteOffset, payload.byteLength)
  const clientSideThrottleTime = bytes.readInt32BE(0)
  const hasSession = version >= 7
  const errorCode = hasSession ? bytes.readInt16BE(4) : 0
  const partitions: FetchedPartition[] = []
  let at = hasSession ? 10 : 4
  const topics = bytes.readInt32BE(at)
  at += 4
  for (let topic = 0; topic < topics; topic++) {
    at += 2 + bytes.readInt16BE(at)
    const count = bytes.readInt32BE(at)
    at += 4
    for (let i = 0; i < count; i++) {
      const partition = bytes.readInt32BE(at)
      const partitionError = bytes.readInt16BE(at + 4)
      const end = Number(bytes.readBigInt64BE(at + 6))
      at += version >= 5 ? 30 : 22
      at += 4 + 16 * Math.max(0, bytes.readInt32BE(at)) // aborted transactions
      if (version >= 11) at += 4
      const length = Math.max(0, bytes.readInt32BE(at))
      at += 4
      const records = bytes.subarray(at, at + length)
      at += length
      partitions.push({ partition, errorCode: partitionError, end, records })
    }
  }
  return { clientSideThrottleTime, errorCode, partitions }
}
