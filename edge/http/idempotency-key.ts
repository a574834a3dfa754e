import type { Context } from 'hono'
import { z } from 'zod'
import { QuartetError } from '../../shared/errors.ts'

/** The key of a request that is to act once (draft-ietf-httpapi-idempotency-key-header). */
export const IdempotencyKey = z.string().regex(/^[\x21-\x7e]{1,255}$/)

const param = 'Idempotency-Key'

/** The request's key, if it has one. Throws `invalid_request` for one that is malformed. */
export function idempotencyKeyOf({ req }: Pick<Context, 'req'>): string | undefined {
  const given = req.header(param)
  if (given === undefined || IdempotencyKey.safeParse(given).success) return given
  throw new QuartetError('invalid_request', `${param}: must be 1 to 255 visible ASCII characters`, { param })
}

/** The key cannot be used for this request, or not now. */
export const keyConflict = (message: string, cause?: unknown) =>
  new QuartetError('idempotency_conflict', message, { param, cause })

export const usedForAnother = () =>
  keyConflict('this Idempotency-Key was used for another request; use a new one')
