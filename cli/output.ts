/** Results go to stdout, everything else to stderr, so that a result can be piped. */

/** A reader that has seen enough (`quartet top | head`) closes the pipe: then there is nothing left to do or to say. */
export function endWithReader(): void {
  for (const stream of [process.stdout, process.stderr])
    stream.on('error', (error: NodeJS.ErrnoException) => {
      if (error.code !== 'EPIPE') throw error
      process.exit()
    })
}

/** Rows as aligned columns under a header; nothing but a note on stderr when there are none. */
export function printTable(header: readonly string[], rows: readonly (readonly string[])[]): void {
  if (rows.length === 0) {
    note(`no ${header[0]}`)
    return
  }
  const widths = header.map((title, column) =>
    Math.max(title.length, ...rows.map((row) => row[column]?.length ?? 0)),
  )
  for (const row of [header, ...rows])
    print(
      row
        .map((cell, column) => cell.padEnd(widths[column] ?? 0))
        .join('  ')
        .trimEnd(),
    )
}

export function print(line: string): void {
  process.stdout.write(`${line}\n`)
}

export function printJson(value: unknown): void {
  print(JSON.stringify(value, null, 2))
}

/** Something the reader should know that is not the result. */
export function note(line: string): void {
  process.stderr.write(`${line}\n`)
}
