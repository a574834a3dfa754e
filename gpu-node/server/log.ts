import { jsonLog, type LogThreshold } from '../../shared/log.ts'

/** One line of JSON per event, on stdout. */
export const logToStdout = (threshold: LogThreshold) =>
  jsonLog(threshold, (line) => {
    process.stdout.write(`${line}\n`)
  })

/** What a log says about a failure: its own text and those of its causes. */
export function describeFailure(error: unknown): string {
  if (!(error instanceof Error)) return String(error)
  const cause = error.cause === undefined ? '' : ` (${describeFailure(error.cause)})`
  return `${error.message}${cause}`
}
