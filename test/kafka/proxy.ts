/** A TCP proxy between client and broker that can swallow an answer and hang up. */
import { once } from 'node:events'
import net from 'node:net'
import type { AddressInfo } from 'node:net'

export class CuttingProxy {
  /** Where the broker listens; set before the first connection. */
  target = 0
  /** So many answers to requests of at least `bytesMin` are still to be swallowed. */
  cuts = 0
  bytesMin = 400
  made = 0
  /** Applied to what the broker sends, piece by piece. */
  forge: ((bytes: Uint8Array) => Uint8Array) | undefined
  readonly #server: net.Server
  readonly #sockets = new Set<net.Socket>()

  constructor() {
    this.#server = net.createServer((client) => this.#connect(client))
  }

  static async start(): Promise<CuttingProxy> {
    const proxy = new CuttingProxy()
    proxy.#server.listen(0, '127.0.0.1')
    await once(proxy.#server, 'listening')
    return proxy
  }

  get port(): number {
    return (this.#server.address() as AddressInfo).port
  }

  close(): void {
    this.#server.close()
    for (const socket of this.#sockets) socket.destroy()
  }

  #connect(client: net.Socket): void {
    const broker = net.connect(this.target, '127.0.0.1')
    let isLarge = false
    for (const socket of [client, broker]) {
      this.#sockets.add(socket)
      socket.on('error', () => {})
      socket.on('close', () => {
        this.#sockets.delete(socket)
        client.destroy()
        broker.destroy()
      })
    }
    client.on('data', (bytes) => {
      if (bytes.length >= this.bytesMin) isLarge = true
      broker.write(bytes)
    })
    broker.on('data', (bytes) => {
      if (isLarge && this.cuts > 0) {
        this.cuts -= 1
        this.made += 1
        // By turns an orderly end and a reset.
        if (this.made % 2 === 0) client.end()
        else client.resetAndDestroy()
        broker.destroy()
        return
      }
      isLarge = false
      client.write(this.forge?.(bytes) ?? bytes)
    })
  }
}
