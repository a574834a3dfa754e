import type { Context } from 'hono'
import type { z } from 'zod'
import { parseRequest } from '../../shared/api/parse.ts'
import { QuartetError } from '../../shared/errors.ts'
import type { App } from '../request-context.ts'
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

/** The order of a list that is in the order of its ids. */
export const byId =
  <T>(id: (entry: T) => string) =>
  (a: T, b: T): number =>
    id(a) < id(b) ? -1 : 1

/**
 * The entries behind `after`, one more than `limit` of them, of a list in the order of its ids. The entry of that id may
 * be gone: a client that deletes the entries of a page still finds the next page.
 */
export function behind<T>(
  entries: readonly T[],
  { after, id, limit }: { after: string | undefined; limit: number; id: (entry: T) => string },
): readonly T[] {
  const at = after === undefined ? 0 : entries.findIndex((entry) => id(entry) > after)
  return at === -1 ? [] : entries.slice(at, at + limit + 1)
}
