/** Who listens on a TCP port of this host, as far as /proc tells. */
import { readdirSync, readlinkSync } from 'node:fs'
import { readSystemText } from './runtime.ts'

/** The state of a listening socket in /proc/net/tcp. */
const LISTENING = '0A'

/** `nginx, pid 812`; undefined when nobody is found, or may be looked at. */
export function holderOf(port: number): string | undefined {
  const inodes = new Set(['tcp', 'tcp6'].flatMap((table) => listening(table, port)))
  if (inodes.size === 0) return undefined
  for (const pid of foldersOf('/proc').filter((name) => /^\d+$/.test(name))) {
    for (const descriptor of foldersOf(`/proc/${pid}/fd`)) {
      if (!inodes.has(targetOf(`/proc/${pid}/fd/${descriptor}`))) continue
      const name = readSystemText(`/proc/${pid}/comm`)?.trim() ?? ''
      return name === '' ? `pid ${pid}` : `${name}, pid ${pid}`
    }
  }
  return undefined
}

/** Link targets of the sockets that listen on the port. */
function listening(table: string, port: number): string[] {
  const wanted = port.toString(16).toUpperCase().padStart(4, '0')
  const rows = (readSystemText(`/proc/net/${table}`) ?? '').split('\n').slice(1)
  return rows.flatMap((row) => {
    // sl local remote state queues timer retransmits uid timeout inode
    const [, local, , state, , , , , , inode] = row.trim().split(/\s+/)
    return state === LISTENING && local?.split(':')[1] === wanted ? [`socket:[${inode}]`] : []
  })
}

function foldersOf(path: string): string[] {
  try {
    return readdirSync(path)
  } catch {
    return []
  }
}

function targetOf(link: string): string {
  try {
    return readlinkSync(link)
  } catch {
    return ''
  }
}
