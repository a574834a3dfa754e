import { lineWriter } from '../../shared/line-writer.ts'
import { jsonLog, type Log, type LogThreshold } from '../../shared/log.ts'

/** One line of JSON per event, on stdout; `dropped` counts those that it did not take. */
export function logToStdout(threshold: LogThreshold): { log: Log; dropped: () => number } {
  const { dropped, write } = lineWriter(process.stdout, (lines) =>
    JSON.stringify({ time: new Date().toISOString(), level: 'warn', event: 'log_lines_dropped', lines }),
  )
  return { log: jsonLog(threshold, write), dropped }
}

/** A failure as a log has it, in one line: its own text, and those of its causes that it does not quote. */
export function failureText(error: unknown): string {
  if (!(error instanceof Error)) return oneLine(String(error))
  const text = oneLine(error.message)
  const cause = error.cause === undefined ? '' : failureText(error.cause)
  return cause === '' || text.includes(cause) ? text : `${text} (${cause})`
}

const oneLine = (text: string): string => text.trim().replaceAll(/\s*\n\s*/g, ' ')
