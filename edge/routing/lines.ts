const maxLineLength = 256 * 1024

/**
 * The lines of newline-delimited UTF-8, all those of one network chunk together. Throws when a line has no end
 * within 256 Ki characters. Leaving early cancels the body.
 */
export async function* readLines(body: ReadableStream<Uint8Array>): AsyncGenerator<readonly string[], void> {
  const decoder = new TextDecoder()
  const reader = body.getReader()
  let rest = ''
  try {
    for (let read = await reader.read(); !read.done; read = await reader.read()) {
      const lines = (rest + decoder.decode(read.value, { stream: true })).split('\n')
      rest = lines.pop() ?? ''
      if (rest.length > maxLineLength) throw new RangeError('a line is too long')
      const full = lines.filter((line) => line !== '')
      if (full.length > 0) yield full
    }
    if (rest !== '') yield [rest]
  } finally {
    await reader.cancel().catch(() => undefined)
  }
}
