/** Keeps passwords that stand in addresses (`https://user:password@host`) out of what is shown. */

/** From `://` to the last `@` before the path: what a URL takes for user and password. */
const USER_INFO = /:\/\/[^\s/?#\\"]*@/g

/** A text of any kind without user and password of the addresses in it. */
export function withoutCredentials(text: string): string {
  // Nearly always there are none, and that is known soonest.
  return text.includes('@') ? text.replace(USER_INFO, '://***@') : text
}

/**
 * What a user gave for an address, as it may be shown though it could not be read: whatever may be
 * meant for a credential (before an `@`, behind a `?` or `#`) is left out.
 */
export function addressShown(text: string): string {
  const query = text.search(/[?#]/)
  const kept = query < 0 ? text : `${text.slice(0, query + 1)}***`
  const at = kept.lastIndexOf('@')
  if (at < 0) return kept
  const scheme = /^[A-Za-z][A-Za-z0-9+.-]*:\/\//.exec(kept)?.[0] ?? ''
  return `${scheme}***${kept.slice(at)}`
}
