import type { Context } from 'hono'
import type { z } from 'zod'
import { idleOf } from '../../shared/api/parameters.ts'
import { parseRequest, parseTolerantly } from '../../shared/api/parse.ts'
import type { TenantApp } from '../request-context.ts'
import { readJson } from './json-body.ts'

const maxNamed = 32

/**
 * The body of a request for text. What nobody knows and what has no effect here is named in `x-quartet-ignored` and in
 * the log; a tenant's policy may have the former refused.
 */
export async function readGenerationRequest<S extends z.ZodType<Readonly<Record<string, unknown>>>>(
  schema: S,
  c: Context<TenantApp>,
  /** Parameters that have an effect here, though not elsewhere. */
  { heeded = [] }: { heeded?: readonly string[] } = {},
): Promise<z.output<S>> {
  const { request, unknown } = parseForTenant(schema, await readJson(c.req.raw), c)
  const ignored = [...unknown, ...idleOf(request).filter((name) => !heeded.includes(name))]
    .slice(0, maxNamed)
    .map(printable)
  if (ignored.length > 0) {
    c.header('x-quartet-ignored', ignored.join(', '))
    c.get('report').ignored = ignored
  }
  return request
}

/** Throws what `parseRequest` throws. */
export function parseForTenant<S extends z.ZodType>(schema: S, body: unknown, c: Context<TenantApp>) {
  return c.get('tenantRecord').policy.strictParameters
    ? { request: parseRequest(schema, body), unknown: [] }
    : parseTolerantly(schema, body)
}

/** A header has no room for any name that JSON has. */
const printable = (name: string): string => name.replaceAll(/[^\w.[\]-]/g, '?').slice(0, 64)
