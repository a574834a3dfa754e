/** The part of a process's stdout that a log needs. */
export interface LineStream {
  write(text: string, done: (error?: Error | null) => void): unknown
  on(event: 'error', listener: (error: Error) => void): unknown
}

export interface LineWriter {
  readonly write: (line: string) => void
  /** Lines that the stream did not take, ever. */
  readonly dropped: () => number
}

/**
 * Writes lines to a stream that may fail, as a log on a full disk does. Lines that the stream does not take are dropped
 * and counted, and nothing else ends. With the first line that it takes again, `describe` tells how many are missing
 * before it.
 */
export function lineWriter(stream: LineStream, describe: (missing: number) => string): LineWriter {
  let dropped = 0
  let told = 0
  // Without a listener a failed write would end the process.
  stream.on('error', () => {})
  const write = (line: string) => {
    stream.write(`${line}\n`, (error) => {
      if (error) dropped += 1
      else if (dropped > told) {
        const missing = dropped - told
        told = dropped
        write(describe(missing))
      }
    })
  }
  return { write, dropped: () => dropped }
}
