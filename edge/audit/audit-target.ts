import type { PathParameters } from '../http/path-schemas.ts'

/**
 * An action's object as the audit log is told of it: the ids in its path, and what was asked of it. Never a secret, and
 * never text that was not checked.
 */
export type AuditTarget = Partial<
  Record<
    | keyof PathParameters
    | 'change'
    | 'policy'
    | 'expiresAt'
    | 'scopes'
    | 'percent'
    | 'by'
    | 'form'
    | 'version',
    string | undefined
  >
>

/** A log entry stays for ever: a longer setting is cut. */
const maxLength = 1_000

/** The target as the log stores it: each value is cut to a bounded length. */
export const writtenTarget = (target: AuditTarget): Record<string, string> =>
  Object.fromEntries(
    Object.entries(target).flatMap(([name, value]) =>
      value === undefined ? [] : [[name, value.slice(0, maxLength).toWellFormed()]],
    ),
  )
