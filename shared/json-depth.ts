/** Lists and objects of a JSON text that may stand in one another. What reads a value calls itself for each, and its stack ends. */
export const maxJsonDepth = 128

/** JSON that is refused for what it says, and how to write it. */
export class RefusedJson extends Error {
  readonly remedy: string

  constructor(message: string, remedy: string) {
    super(message)
    this.remedy = remedy
  }
}

/** `JSON.parse`; throws `RefusedJson` for a text that is nested deeper than `maxJsonDepth`. */
export function parseBounded(text: string): unknown {
  if (isDeeper(text, maxJsonDepth))
    throw new RefusedJson(
      `lists and objects stand in one another more than ${maxJsonDepth} deep`,
      'make it flatter',
    )
  return JSON.parse(text)
}

const quote = 0x22
const backslash = 0x5c
/** `{` and `}` less 0x20 are `[` and `]`. */
const [open, close] = [0x5b, 0x5d]

function isDeeper(text: string, most: number): boolean {
  let depth = 0
  for (let at = 0; at < text.length; at++) {
    const code = text.charCodeAt(at)
    if (code === quote) at = endOfString(text, at)
    else if ((code & ~0x20) === open && ++depth > most) return true
    else if ((code & ~0x20) === close) depth -= 1
  }
  return false
}

/** Where the string that begins at `from` ends; the end of a text that ends within it. */
function endOfString(text: string, from: number): number {
  for (let at = text.indexOf('"', from + 1); at !== -1; at = text.indexOf('"', at + 1))
    if (!isEscaped(text, at)) return at
  return text.length
}

/** Whether an odd number of backslashes stands in front. */
function isEscaped(text: string, at: number): boolean {
  let first = at
  while (text.charCodeAt(first - 1) === backslash) first -= 1
  return (at - first) % 2 === 1
}
