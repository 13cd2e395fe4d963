/** Waiting on conditions, never on time alone. */

/** Polls `condition` until it returns something truthy; fails with `what` after `timeoutMs`. */
export async function until<T>(
  what: string | (() => string),
  timeoutMs: number,
  condition: () => T | Promise<T>,
): Promise<NonNullable<T>> {
  const deadline = performance.now() + timeoutMs
  while (true) {
    const value = await condition()
    if (value) return value as NonNullable<T>
    if (performance.now() > deadline) {
      throw new Error(
        `not within ${timeoutMs} ms: ${typeof what === 'string' ? what : what()}`,
      )
    }
    await new Promise((resolve) => setTimeout(resolve, 20))
  }
}
