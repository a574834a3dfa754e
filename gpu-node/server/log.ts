type Field = string | number | boolean | null | undefined

/** One line of JSON per event. Never tokens, prompts, secrets or tenants' names. */
export type Log = (
  level: 'info' | 'warn' | 'error',
  event: string,
  fields?: Readonly<Record<string, Field>>,
) => void

export const logToStdout: Log = (level, event, fields) => {
  process.stdout.write(`${JSON.stringify({ time: new Date().toISOString(), level, event, ...fields })}\n`)
}

/** What a log says about a failure: its own text and those of its causes. */
export function describeFailure(error: unknown): string {
  if (!(error instanceof Error)) return String(error)
  const cause = error.cause === undefined ? '' : ` (${describeFailure(error.cause)})`
  return `${error.message}${cause}`
}
