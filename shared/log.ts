import { z } from 'zod'
import { QuartetError } from './errors.ts'

const LogLevel = z.enum(['debug', 'info', 'warn', 'error'])
type LogLevel = z.infer<typeof LogLevel>
/** `QUARTET_LOG_LEVEL`: the least level that is written, or nothing at all. */
export const LogThreshold = z.enum([...LogLevel.options, 'off'])
export type LogThreshold = z.infer<typeof LogThreshold>

type Field = string | number | boolean | null | undefined
export type LogFields = Readonly<Record<string, Field>>

/** One line of JSON per event. Never tokens, prompts, completions or secrets. */
export type Log = (level: LogLevel, event: string, fields?: LogFields) => void

const rank = Object.fromEntries(LogThreshold.options.map((level, at) => [level, at]))

/** A log that writes what is at least as severe as `threshold`. */
export function jsonLog(threshold: LogThreshold, write: (line: string) => void): Log {
  const least = rank[threshold] ?? 0
  return (level, event, fields) => {
    if ((rank[level] ?? 0) < least) return
    write(JSON.stringify({ time: new Date().toISOString(), level, event, ...fields }))
  }
}

/** Throws `internal_error` for a level that does not exist. */
export function logThreshold(given: string | undefined): LogThreshold {
  const level = LogThreshold.safeParse(given || 'info')
  if (level.success) return level.data
  throw new QuartetError('internal_error', `QUARTET_LOG_LEVEL must be ${LogThreshold.options.join(', ')}`)
}
