import { type ErrorCode, QuartetError } from '../../shared/errors.ts'

/** A refusal as data: an error's class does not survive the call out of a Durable Object. */
export type Outcome<T> = { readonly ok: true; readonly value: T } | Refusal

interface Refusal {
  readonly ok: false
  readonly code: ErrorCode
  readonly message: string
  /** The field of the request that is at fault. */
  readonly param?: string
  readonly retryAfterSeconds?: number
  /** The obstacle passes by itself, at an unknown time: the same request may then succeed. */
  readonly isTransient?: true
}

export const ok = <T>(value: T): Outcome<T> => ({ ok: true, value })
export const refuse = (
  code: ErrorCode,
  message: string,
  detail: Pick<Refusal, 'param' | 'retryAfterSeconds' | 'isTransient'> = {},
): Refusal => ({ ok: false, code, message, ...detail })

/** The value of an outcome; throws its refusal. */
export function unwrap<T>(outcome: Outcome<T>): T {
  if (outcome.ok) return outcome.value
  const { code, isTransient, message, param, retryAfterSeconds } = outcome
  throw new QuartetError(code, message, { isTransient, param, retryAfterSeconds })
}
