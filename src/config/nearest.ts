/** "Did you mean": the known words nearest to a mistyped one. */

/** Edits (insert, delete, replace, swap of neighbours) that turn `a` into `b`. O(a·b). */
export function editDistance(a: string, b: string): number {
  let beforeLast: number[] = []
  let last = Array.from({ length: b.length + 1 }, (_, column) => column)
  for (let row = 1; row <= a.length; row++) {
    const current = [row]
    for (let column = 1; column <= b.length; column++) {
      const replaced = last[column - 1]! + (a[row - 1] === b[column - 1] ? 0 : 1)
      let best = Math.min(replaced, last[column]! + 1, current[column - 1]! + 1)
      const swapped = row > 1 && column > 1 && a[row - 1] === b[column - 2] &&
        a[row - 2] === b[column - 1]
      if (swapped) best = Math.min(best, beforeLast[column - 2]! + 1)
      current.push(best)
    }
    beforeLast = last
    last = current
  }
  return last[b.length]!
}

/** The one word that was most likely meant, or undefined when none is close enough to say so. */
export function nearestWord(word: string, known: Iterable<string>): string | undefined {
  const asked = word.toLowerCase()
  let nearest: string | undefined
  let shortest = Infinity
  for (const candidate of known) {
    const name = candidate.toLowerCase()
    // An unfinished word is nearer than its length says.
    const distance = asked.length >= 3 && name.startsWith(asked) ? 1 : editDistance(asked, name)
    if (distance < shortest) {
      shortest = distance
      nearest = candidate
    }
  }
  const longest = Math.max(asked.length, nearest?.length ?? 0)
  return shortest <= Math.floor(longest / 3) ? nearest : undefined
}

/** `; did you mean X?`, or nothing. */
export function didYouMean(word: string, known: Iterable<string>, prefix = ''): string {
  const nearest = nearestWord(word, known)
  return nearest === undefined ? '' : `; did you mean ${prefix}${nearest}?`
}
