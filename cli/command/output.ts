import { stripVTControlCharacters } from 'node:util'

/** Results go to stdout, everything else to stderr, so that a result can be piped. */

/** A reader that has seen enough (`quartet top | head`) closes the pipe: then there is nothing left to do or to say. */
export function endWithReader(): void {
  for (const stream of [process.stdout, process.stderr])
    stream.on('error', (error: NodeJS.ErrnoException) => {
      if (error.code !== 'EPIPE') throw error
      process.exit()
    })
}

/**
 * Text as a terminal may show it. A text from a server or a file could else move the cursor, change what is shown
 * above, or write the clipboard: escape sequences go, and so does every other control character but a tab and a
 * newline.
 */
export function printable(text: string): string {
  return stripVTControlCharacters(text).replaceAll(controlCharacter, '')
}

/** C0 but tab and newline, DEL, C1, and what turns the direction of text. */
const controlCharacter = /[^\P{Cc}\t\n]|[\u202a-\u202e\u2066-\u2069]/gu

/** Rows as aligned columns under a header; where there are none, a note on stderr that there is no such `thing`. */
export function printTable(
  header: readonly string[],
  rows: readonly (readonly string[])[],
  thing = header[0],
): void {
  if (rows.length === 0) {
    note(`no ${thing}`)
    return
  }
  for (const line of tableLines([header, ...rows])) print(line)
}

/** One line for each row, whatever its cells hold. */
export function tableLines(rows: readonly (readonly string[])[]): readonly string[] {
  const cells = rows.map((row) => row.map((cell) => printable(cell).replaceAll(/[\t\n]+/g, ' ')))
  const widths: number[] = []
  for (const row of cells)
    for (const [column, cell] of row.entries()) widths[column] = Math.max(widths[column] ?? 0, cell.length)
  return cells.map((row) =>
    row
      .map((cell, column) => cell.padEnd(widths[column] ?? 0))
      .join('  ')
      .trimEnd(),
  )
}

export function print(line: string): void {
  process.stdout.write(`${printable(line)}\n`)
}

/** JSON escapes control characters by itself, but for DEL and C1, which `print` drops. */
export function printJson(value: unknown): void {
  print(JSON.stringify(value, null, 2))
}

/** Something the reader should know that is not the result. */
export function note(line: string): void {
  process.stderr.write(`${printable(line)}\n`)
}
