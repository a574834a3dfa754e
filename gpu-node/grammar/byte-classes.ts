/** First and last code point, or first and last byte. */
type Range = readonly [first: number, last: number]

const lastCodePoint = 0x10ffff
const surrogates: Range = [0xd800, 0xdfff]
/** The last code points that take one, two, three bytes in UTF-8. */
const lengths = [0x7f, 0x7ff, 0xffff, lastCodePoint]

/** An escape or a character of xgrammar's own writing. */
export const writtenCharacter = /\\(?:x[\da-fA-F]{2}|u[\da-fA-F]{4}|U[\da-fA-F]{8}|.)|./gsu

const controls: Readonly<Record<string, number>> = { 0: 0, a: 7, b: 8, t: 9, n: 10, v: 11, f: 12, r: 13 }

export function codePointOf(written: string): number {
  if (/^\\[xuU]./.test(written)) return Number.parseInt(written.slice(2), 16)
  if (!written.startsWith('\\')) return written.codePointAt(0) ?? 0
  const letter = written.slice(1)
  return controls[letter] ?? letter.codePointAt(0) ?? 0
}

/**
 * The byte sequences of a character class that names characters beyond ASCII, each as classes of single bytes;
 * undefined for a class that names none. xgrammar 0.1.27 takes such a class for one of bytes, and lets all of UTF-8
 * through where the class is negated; a class of bytes is what is left to write it with.
 *
 * @param written `[…]` or `[^…]`, without a star.
 */
export function byteSequences(written: string): readonly (readonly string[])[] | undefined {
  const isNegated = written.startsWith('[^')
  const items = Array.from(written.slice(isNegated ? 2 : 1, -1).matchAll(writtenCharacter), ([each]) => each)
  const named: Range[] = []
  for (let at = 0; at < items.length; at++) {
    const first = codePointOf(items[at] ?? '')
    const isRange = items[at + 1] === '-' && at + 2 < items.length
    named.push([first, isRange ? codePointOf(items[at + 2] ?? '') : first])
    if (isRange) at += 2
  }
  if (named.every(([, last]) => last < 0x80)) return undefined
  const ranges = isNegated ? others([...named, surrogates]) : others([...others(named), surrogates])
  return ranges.flatMap(inUtf8).map((bytes) => bytes.map(byteClass))
}

/** All code points but those of `excluded`, in order. */
function others(excluded: readonly Range[]): readonly Range[] {
  const left: Range[] = []
  let from = 0
  for (const [first, last] of [...excluded].sort(([a], [b]) => a - b)) {
    if (first > from) left.push([from, first - 1])
    from = Math.max(from, last + 1)
  }
  if (from <= lastCodePoint) left.push([from, lastCodePoint])
  return left
}

function inUtf8([first, last]: Range): readonly (readonly Range[])[] {
  let from = 0
  return lengths.flatMap((most) => {
    const [least, greatest] = [Math.max(first, from), Math.min(last, most)]
    from = most + 1
    if (least > greatest) return []
    return sequencesBetween([...encoded(least)], [...encoded(greatest)])
  })
}

const encoded = (code: number): Uint8Array => new TextEncoder().encode(String.fromCodePoint(code))

/** All sequences of one length from `low` to `high`, as products of byte ranges. */
function sequencesBetween(low: readonly number[], high: readonly number[]): readonly (readonly Range[])[] {
  const [first = 0, ...lowRest] = low
  const [last = 0, ...highRest] = high
  const head = (range: Range) => (tail: readonly Range[]) => [range, ...tail]
  if (lowRest.length === 0) return [[[first, last]]]
  const lowest = lowRest.map(() => 0x80)
  const highest = lowRest.map(() => 0xbf)
  if (first === last) return sequencesBetween(lowRest, highRest).map(head([first, first]))
  const isWhole = (rest: readonly number[], bound: readonly number[]) =>
    rest.every((byte, at) => byte === bound[at])
  const from = isWhole(lowRest, lowest) ? first : first + 1
  const to = isWhole(highRest, highest) ? last : last - 1
  return [
    ...(from > first ? sequencesBetween(lowRest, highest).map(head([first, first])) : []),
    ...(from <= to ? [[[from, to] as const, ...lowRest.map((): Range => [0x80, 0xbf])]] : []),
    ...(to < last ? sequencesBetween(lowest, highRest).map(head([last, last])) : []),
  ]
}

/** A byte that stands alone is written twice: a class of one character would become that character's UTF-8. */
const byteClass = ([first, last]: Range): string =>
  first === last ? `[${byte(first)}${byte(first)}]` : `[${byte(first)}-${byte(last)}]`

const byte = (value: number): string => `\\x${value.toString(16).padStart(2, '0')}`
