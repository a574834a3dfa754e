import type { Context } from 'hono'
import type { z } from 'zod'
import { parseRequest } from '../../shared/api/parse.ts'
import { QuartetError } from '../../shared/errors.ts'
import type { App } from './context.ts'
import { PathParameters } from './path-schemas.ts'

/** The query of a request as its schema describes it. */
export function parseQuery<S extends z.ZodType>(schema: S, c: Pick<Context<App>, 'req'>): z.output<S> {
  return parseRequest(schema, c.req.query())
}

/** All parameters of the path, each as it must be; anything else names nothing. Throws `invalid_request`. */
export function pathParameters(c: Pick<Context<App>, 'req'>): PathParameters {
  const ids = PathParameters.safeParse(c.req.param())
  if (ids.success) return ids.data
  throw new QuartetError(
    'invalid_request',
    `the path is wrong: ${ids.error.issues[0]?.message ?? 'malformed id'}`,
  )
}

/** One of them. */
export function pathParameter<N extends keyof PathParameters>(
  c: Pick<Context<App>, 'req'>,
  name: N,
): NonNullable<PathParameters[N]> {
  const id = pathParameters(c)[name]
  if (id == null) throw new Error(`this route's path has no parameter ${name}`)
  return id
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
