/** One line of a file that holds something. */
export interface FileLine {
  /** The line's number from 1 on, empty lines counted. */
  readonly line: number
  /** Where it begins, in bytes. */
  readonly at: number
  /** Its length. */
  readonly bytes: number
  readonly text: string
}

const newline = 10

/** A line's text, as it was checked: white space that JSON does not know may stand around it (line-check.ts). */
export const lineText = (bytes: Uint8Array): string => new TextDecoder().decode(bytes).trim()

/** The lines of a file as it arrives, one in memory at a time. The file was checked when it was uploaded. */
export async function* linesOf(body: AsyncIterable<Uint8Array>): AsyncGenerator<FileLine, void> {
  let pieces: Uint8Array[] = []
  let line = 1
  let at = 0
  const take = (): FileLine | undefined => {
    const length = pieces.reduce((sum, piece) => sum + piece.length, 0)
    const bytes = new Uint8Array(length)
    let filled = 0
    for (const piece of pieces) {
      bytes.set(piece, filled)
      filled += piece.length
    }
    const taken = { line, at, bytes: length, text: lineText(bytes) }
    pieces = []
    at += length + 1
    line += 1
    return taken.text === '' ? undefined : taken
  }
  for await (const chunk of body) {
    let from = 0
    for (let end = chunk.indexOf(newline); end >= 0; end = chunk.indexOf(newline, from)) {
      pieces.push(chunk.subarray(from, end))
      const taken = take()
      if (taken !== undefined) yield taken
      from = end + 1
    }
    if (from < chunk.length) pieces.push(chunk.slice(from))
  }
  const last = take()
  if (last !== undefined) yield last
}
