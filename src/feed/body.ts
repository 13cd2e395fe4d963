/** The body of an answer, up to a size. */

/** Far more than any exchange lists. */
export const BODY_BYTES_MAX = 64 * 1024 * 1024

export class TooLarge extends Error {}

/** Rejects with `TooLarge`, and reads no further, beyond `bytesMax` bytes as they are after decompression. */
export async function readText(response: Response, bytesMax = BODY_BYTES_MAX): Promise<string> {
  if (response.body === null) return ''
  const reader = response.body.getReader()
  const decoder = new TextDecoder()
  let text = ''
  let bytes = 0
  while (true) {
    const { done, value } = await reader.read()
    if (done) return text + decoder.decode()
    bytes += value.length
    if (bytes > bytesMax) {
      await reader.cancel()
      throw new TooLarge(`an answer of more than ${bytesMax} bytes`)
    }
    text += decoder.decode(value, { stream: true })
  }
}
