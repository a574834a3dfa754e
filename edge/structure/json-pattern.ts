/** First and last code point. */
type Range = readonly [first: number, last: number]

/**
 * The characters that a JSON string holds as they are. Any other is written with a backslash, or is no character at
 * all.
 */
const writable: readonly Range[] = [
  [0x20, 0x21],
  [0x23, 0x5b],
  [0x5d, 0xd7ff],
  [0xe000, 0x10ffff],
]

const digits: readonly Range[] = [[0x30, 0x39]]
const word: readonly Range[] = [...digits, [0x41, 0x5a], [0x5f, 0x5f], [0x61, 0x7a]]
const space: readonly Range[] = [[0x20, 0x20]]
const named: Readonly<Record<string, readonly Range[]>> = {
  d: digits,
  w: word,
  s: space,
}
const opposite: Readonly<Record<string, readonly Range[]>> = { D: digits, W: word, S: space }
const controls = 'nrtfv0'

/** The characters that no class may match, in the syntax of a class. */
const unwritable = '"\\\\\\x00-\\x1f'

/** A class of all that a JSON string holds as it is. */
export const anyWritable = `[^${unwritable}]`

/**
 * A regular expression for the text between the quotes of a JSON string: the same texts, but for those with characters
 * that JSON escapes. Throws an Error with the reason where the pattern names such a character itself.
 */
export function patternInJson(pattern: string): string {
  const characters = [...pattern]
  let written = ''
  for (let at = 0; at < characters.length; ) {
    const character = characters[at] ?? ''
    if (character === '[') {
      const { isNegated, length, ranges } = bracketsAt(characters, at)
      written += isNegated ? allBut(ranges) : classOf(ranges)
      at += length
    } else if (character === '\\') {
      const excluded = opposite[characters[at + 1] ?? '']
      const { length, ranges } =
        excluded === undefined ? escapeAt(characters, at) : { length: 2, ranges: undefined }
      // Assertions and groups are left to xgrammar, which takes or refuses them.
      written +=
        excluded !== undefined
          ? allBut(excluded)
          : ranges === undefined
            ? characters.slice(at, at + length).join('')
            : classOf(ranges)
      at += length
    } else {
      written += character === '.' ? anyWritable : plain(character)
      at += 1
    }
  }
  return written
}

function bracketsAt(
  characters: readonly string[],
  at: number,
): { length: number; isNegated: boolean; ranges: readonly Range[] } {
  const isNegated = characters[at + 1] === '^'
  const ranges: Range[] = []
  let from = at + (isNegated ? 2 : 1)
  while (characters[from] !== ']') {
    const item = itemAt(characters, from)
    from += item.length
    const [first] = item.ranges.length === 1 ? item.ranges : []
    const isRange = characters[from] === '-' && characters[from + 1] !== ']' && first?.[0] === first?.[1]
    if (!isRange || first === undefined) {
      ranges.push(...item.ranges)
      continue
    }
    const end = itemAt(characters, from + 1)
    ranges.push([first[0], end.ranges[0]?.[1] ?? first[0]])
    from += 1 + end.length
  }
  const length = from - at + 1
  if (!isNegated) for (const range of ranges) requireWritable(range)
  return { length, isNegated, ranges }
}

/** One character of a class, or a class within it. */
function itemAt(characters: readonly string[], at: number): { length: number; ranges: readonly Range[] } {
  const character = characters[at]
  if (character === undefined) throw new Error('has a [ without its ]')
  if (character === '\\') {
    const { length, ranges } = escapeAt(characters, at)
    if (ranges === undefined) throw new Error('has an escape in brackets that means no character')
    return { length, ranges }
  }
  const code = character.codePointAt(0) ?? 0
  return { length: 1, ranges: [[code, code]] }
}

/** The characters that an escape stands for; undefined for an escape that stands for no character. */
function escapeAt(
  characters: readonly string[],
  at: number,
): { length: number; ranges: readonly Range[] | undefined } {
  const letter = characters[at + 1] ?? ''
  const known = named[letter]
  if (known !== undefined) return { length: 2, ranges: known }
  const rest = characters.slice(at, at + 6).join('')
  const number = /^\\(?:x([0-9A-Fa-f]{2})|u([0-9A-Fa-f]{4}))/.exec(rest)
  const code = number === null ? letter.codePointAt(0) : Number.parseInt(number[1] ?? number[2] ?? '', 16)
  if (code === undefined) throw new Error('ends with a backslash')
  if (number === null && controls.includes(letter)) requireWritable([0, 0])
  if (number === null && /[A-Za-z1-9]/.test(letter)) return { length: 2, ranges: undefined }
  requireWritable([code, code])
  return { length: number?.[0].length ?? 2, ranges: [[code, code]] }
}

function plain(character: string): string {
  const code = character.codePointAt(0) ?? 0
  requireWritable([code, code])
  return character
}

function requireWritable([first, last]: Range): void {
  if (writable.some(([from, to]) => from <= first && last <= to)) return
  throw new Error('may match a quote, a backslash or a control character, which JSON writes in another way')
}

/** A class of all that is writable but `excluded`. */
const allBut = (excluded: readonly Range[]): string => `[^${listed(excluded)}${unwritable}]`

function classOf(ranges: readonly Range[]): string {
  if (ranges.length === 0) throw new Error('has brackets that allow nothing')
  const others = ranges.flatMap(([first, last]): Range[] =>
    first === caret ? (last === caret ? [] : [[caret + 1, last]]) : [[first, last]],
  )
  // A caret that leads would negate the class where xgrammar prints it.
  const hasCaret = ranges.some(([first]) => first === caret)
  if (others.length === 0) return '\\^'
  return `[${listed(hasCaret ? [...others, [caret, caret]] : others)}]`
}

const caret = 0x5e

const listed = (ranges: readonly Range[]): string =>
  ranges
    .map(([first, last]) => (first === last ? spelled(first) : `${spelled(first)}-${spelled(last)}`))
    .join('')

function spelled(code: number): string {
  const character = String.fromCodePoint(code)
  return '[]^-\\'.includes(character) ? `\\${character}` : character
}
