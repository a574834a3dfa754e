import type { Context } from 'hono'
import { AuditQuery } from '../../shared/api/audit.ts'
import { toPage } from '../../shared/api/paging.ts'
import { QuartetError } from '../../shared/errors.ts'
import { parseQuery } from '../http/request-parts.ts'
import type { AdminApp } from '../request-context.ts'

/** `GET /admin/v1/audit`, newest first. */
export async function getAudit(c: Context<AdminApp>): Promise<Response> {
  const query = parseQuery(AuditQuery, c)
  if (query.after !== undefined && !/^[0-9]{1,15}$/.test(query.after))
    throw new QuartetError('invalid_request', 'after: must be the id of an entry', { param: 'after' })
  const entries = await c.get('platform').audit().read(query)
  return c.json(toPage(entries, { limit: query.limit, id: ({ id }) => String(id) }))
}
