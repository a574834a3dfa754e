import type { Context } from 'hono'
import type { z } from 'zod'
import { parseRequest } from '../../shared/api/parse.ts'
import { QuartetError } from '../../shared/errors.ts'
import type { App } from './context.ts'

/** The query of a request as its schema describes it. */
export function parseQuery<S extends z.ZodType>(schema: S, c: Pick<Context<App>, 'req'>): z.output<S> {
  return parseRequest(schema, c.req.query())
}

/** A path segment as the id it must be; anything else names nothing. */
export function pathId<S extends z.ZodType>(schema: S, segment: string | undefined): z.output<S> {
  const id = schema.safeParse(segment)
  if (id.success) return id.data
  throw new QuartetError(
    'invalid_request',
    `the path is wrong: ${id.error.issues[0]?.message ?? 'malformed id'}`,
  )
}

/** The entries behind the one whose id is `after`, and one more than `limit` of them. Throws when `after` is none of them. */
export function behind<T>(
  entries: readonly T[],
  { after, id, limit }: { after: string | undefined; limit: number; id: (entry: T) => string },
): readonly T[] {
  const at = after === undefined ? -1 : entries.findIndex((entry) => id(entry) === after)
  if (after !== undefined && at === -1)
    throw new QuartetError('invalid_request', 'after: names no entry of this list; begin again without it', {
      param: 'after',
    })
  return entries.slice(at + 1, at + 2 + limit)
}
