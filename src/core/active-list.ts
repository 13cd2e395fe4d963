/** Which subscriptions an exchange says are active, and which of them ended without being told. */

const NEVER_LISTED = 0
const MISSING = 1
const LISTED = 2

/**
 * For exchanges that now and then list the active subscriptions of a socket. What such a list once
 * had and the newest one has not is over, unless something shows the contrary; what was never on
 * one is not judged, as the exchange may call it by another name, or list nothing at all. Positions
 * are those of `names`; several may share a name.
 */
export class ActiveList {
  readonly #names: readonly string[]
  readonly #listed: Uint8Array
  /** By position: 1 when the last `review` found it missing and nothing has vouched for it since. */
  readonly #suspected: Uint8Array

  constructor(names: readonly string[]) {
    this.#names = names
    this.#listed = new Uint8Array(names.length)
    this.#suspected = new Uint8Array(names.length)
  }

  /** The newest list, whole. */
  update(active: ReadonlySet<string>): void {
    for (let i = 0; i < this.#names.length; i++) {
      if (active.has(this.#names[i])) {
        this.#listed[i] = LISTED
        this.#suspected[i] = 0
      } else if (this.#listed[i] !== NEVER_LISTED) {
        this.#listed[i] = MISSING
      }
    }
  }

  /** It sends: what the lists say does not count for now. Hot path. */
  vouch(i: number): void {
    this.#suspected[i] = 0
  }

  /**
   * Call at intervals longer than a list takes to come. True: it was missing at the last call too.
   * `relevant` false: it is not expected to send just now.
   */
  review(i: number, relevant: boolean): boolean {
    const isMissing = relevant && this.#listed[i] === MISSING
    const wasMissing = this.#suspected[i] === 1
    this.#suspected[i] = isMissing ? 1 : 0
    return isMissing && wasMissing
  }
}
