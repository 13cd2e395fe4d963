/** Writer of the Prometheus text format, version 0.0.4. */
import { foreignText } from '../core/foreign-text.ts'

export const EXPOSITION_CONTENT_TYPE = 'text/plain; version=0.0.4; charset=utf-8'

export type Labels = Readonly<Record<string, string | number>>

/**
 * One scrape's text, family by family: `family` opens one, `sample` and `histogram` add to the one
 * opened last. A family opened twice is a mistake of the caller and throws.
 */
export class Exposition {
  #text = ''
  #family = ''
  readonly #seen: Set<string> = new Set()

  /** `name` whole, `_total` included; `help` one sentence without a dot. */
  family(name: string, type: 'counter' | 'gauge' | 'histogram', help: string): this {
    if (this.#seen.has(name)) throw new Error(`metric family ${name} is written twice`)
    this.#seen.add(name)
    this.#family = name
    const escaped = help.replaceAll('\\', '\\\\').replaceAll('\n', '\\n')
    this.#text += `# HELP ${name} ${escaped}\n# TYPE ${name} ${type}\n`
    return this
  }

  sample(value: number, labels: Labels = {}): this {
    this.#text += `${this.#family}${formatLabels(labels)} ${formatValue(value)}\n`
    return this
  }

  /**
   * `counts[i]`: observations at most `bounds[i]` and above the bound before it; one more entry
   * counts the rest.
   */
  histogram(
    bounds: readonly number[],
    counts: readonly number[],
    sum: number,
    labels: Labels = {},
  ): this {
    let below = 0
    for (let i = 0; i <= bounds.length; i++) {
      below += counts[i] ?? 0
      const le = i < bounds.length ? formatValue(bounds[i]) : '+Inf'
      this.#text += `${this.#family}_bucket${formatLabels({ ...labels, le })} ${below}\n`
    }
    this.#text += `${this.#family}_sum${formatLabels(labels)} ${formatValue(sum)}\n`
    this.#text += `${this.#family}_count${formatLabels(labels)} ${below}\n`
    return this
  }

  toString(): string {
    return this.#text
  }
}

function formatLabels(labels: Labels): string {
  let text = ''
  for (const name in labels) {
    const value = `${labels[name]}`.split('\n').map(labelText).join('\\n')
    text += `${text === '' ? '' : ','}${name}="${value}"`
  }
  return text === '' ? '' : `{${text}}`
}

/** The format knows three escapes and no other: the backslash of any other is doubled. */
function labelText(text: string): string {
  return foreignText(text).replaceAll('\\', '\\\\').replaceAll('"', '\\"')
}

function formatValue(value: number): string {
  if (value === Infinity) return '+Inf'
  if (value === -Infinity) return '-Inf'
  return `${value}`
}
