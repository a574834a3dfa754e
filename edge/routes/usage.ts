import type { Context } from 'hono'
import {
  AdminUsageQuery,
  type BudgetReport,
  type UsageList,
  UsageQuery,
  type UsageRow,
} from '../../shared/api/usage.ts'
import { QuartetError } from '../../shared/errors.ts'
import { KeyId, TenantId } from '../../shared/ids.ts'
import { usageCsv } from '../../shared/usage-csv.ts'
import { dayOf, monthOf } from '../budgets/calendar.ts'
import { histogramQuantile } from '../budgets/first-token.ts'
import type { DayUsage, UsagePage, UsageRange } from '../budgets/usage-table.ts'
import { unwrap } from '../directory/outcome.ts'
import { parseQuery } from '../http/request-parts.ts'
import type { AdminApp, App, ControlApp, TenantApp } from '../request-context.ts'

type Wanted = { from?: string | undefined; to?: string | undefined; format?: 'json' | 'csv' | undefined }

/** `GET /v1/usage` lists the tenant's usage by day, key and model. */
export async function getUsage(c: Context<TenantApp>): Promise<Response> {
  const query = parseQuery(UsageQuery, c)
  return present(await ofTenant(c.get('tenant'), { ...query, of: 'tenant' }, c), query, c)
}

/** `GET /admin/v1/usage` lists one tenant's usage, or that of all tenants. */
export async function getAllUsage(c: Context<AdminApp>): Promise<Response> {
  const query = parseQuery(AdminUsageQuery, c)
  const list =
    query.tenant === undefined
      ? await ofAll(query, c)
      : await ofTenant(query.tenant, { ...query, of: 'name' }, c)
  return present(list, query, c)
}

/** `GET /v1/budget`. */
export async function getOwnBudget(c: Context<TenantApp>): Promise<Response> {
  const { standings, ...standing } = await c.get('platform').budget(c.get('tenant')).standing()
  return c.json({
    ...standing,
    alerts: [...standing.alerts],
    limits: { ...standings },
  } satisfies BudgetReport)
}

/** `GET /admin/v1/tenants/{id}/budget`. */
export async function getBudget(c: Context<ControlApp>): Promise<Response> {
  const { budget, directory } = c.get('platform')
  const tenant = c.get('tenant')
  unwrap(await directory(tenant).summary())
  const { standings, ...standing } = await budget(tenant).standing()
  return c.json({
    ...standing,
    alerts: [...standing.alerts],
    limits: { ...standings },
  } satisfies BudgetReport)
}

interface Paged extends Wanted {
  readonly limit: number
  readonly after?: string | undefined
}

async function ofTenant(
  tenant: TenantId,
  query: Paged & Pick<UsagePage, 'of'>,
  c: Pick<Context<App>, 'get'>,
): Promise<UsageList> {
  const range = rangeOf(query)
  const page = {
    ...range,
    of: query.of,
    limit: query.limit + 1,
    after: query.after === undefined ? null : place(query.after),
  }
  const found = await read(tenant, page, c)
  const rows = found.slice(0, query.limit)
  const last = rows.at(-1)
  return {
    object: 'list',
    ...range,
    data: rows.map((row) => toRow(tenant, row)),
    last_id: last === undefined ? null : placeOf(last),
    has_more: found.length > query.limit,
  }
}

/** Tenants read for one page at most. */
const tenantsAtOnce = 50

/**
 * Tenants in their order, deleted ones too. A page ends where it is full, or after so many tenants; it may be empty and
 * not the last. Its `last_id` is a tenant that was read whole, or a tenant and the last row that was read of it.
 */
async function ofAll({ after, limit, ...wanted }: Paged, c: Context<AdminApp>): Promise<UsageList> {
  const range = rangeOf(wanted)
  const begun = after === undefined ? undefined : placeAmongAll(after)
  const others = await c
    .get('platform')
    .changeFeed()
    .tenants({ after: begun?.tenant ?? '', limit: tenantsAtOnce + 1, of: 'ever' })
  const tenants: (Pick<UsagePage, 'after'> & { readonly id: TenantId })[] = others.map(({ id }) => ({
    id,
    after: null,
  }))
  if (begun?.row !== undefined) tenants.unshift({ id: begun.tenant, after: begun.row })
  const data: UsageRow[] = []
  let lastId = after ?? null
  for (const tenant of tenants.slice(0, tenantsAtOnce)) {
    const room = limit - data.length
    const found = await read(tenant.id, { ...range, of: 'name', after: tenant.after, limit: room + 1 }, c)
    const rows = found.slice(0, room)
    data.push(...rows.map((row) => toRow(tenant.id, row)))
    const last = rows.at(-1)
    if (found.length > room) {
      if (last !== undefined) lastId = `${tenant.id}/${placeOf(last)}`
      return { object: 'list', ...range, data, last_id: lastId, has_more: true }
    }
    lastId = tenant.id
  }
  const hasMore = tenants.length > tenantsAtOnce
  return { object: 'list', ...range, data, last_id: lastId, has_more: hasMore }
}

const read = async (tenant: TenantId, page: UsagePage, c: Pick<Context<App>, 'get'>): Promise<DayUsage[]> =>
  c.get('platform').budget(tenant).usage(page)

function present(
  list: UsageList,
  { format }: Wanted,
  c: Pick<Context<App>, 'req' | 'json' | 'body'>,
): Response {
  const wantsCsv =
    format === undefined ? c.req.header('accept')?.includes('text/csv') === true : format === 'csv'
  if (!wantsCsv) return c.json(list)
  return c.body(usageCsv(list.data), 200, {
    'content-type': 'text/csv; charset=utf-8',
    'content-disposition': `attachment; filename="usage-${list.from}-${list.to}.csv"`,
    ...(list.has_more && list.last_id !== null ? { 'x-quartet-next-after': list.last_id } : {}),
  })
}

/** The range of the request; by default the running month up to today. */
function rangeOf({ from, to }: Wanted): UsageRange {
  const today = dayOf(Date.now())
  const end = to ?? (from !== undefined && from > today ? from : today)
  return { from: from ?? `${monthOf(end)}-01`, to: end }
}

type Place = NonNullable<UsagePage['after']>

const placeOf = ({ day, key, model }: Place): string => `${day}/${key}/${model}`

const noPlace = () =>
  new QuartetError('invalid_request', "after: must be a page's last_id", { param: 'after' })

/** Reads the place of a row in one tenant's usage. */
function place(after: string): Place {
  const [day, key, model] = after.split('/')
  if (day === undefined || key === undefined || model === undefined) throw noPlace()
  return { day, key, model }
}

/** Reads the place of a tenant, or of a row among all tenants' rows. */
function placeAmongAll(after: string): { readonly tenant: TenantId; readonly row: Place | undefined } {
  const [first, ...rest] = after.split('/')
  const tenant = TenantId.safeParse(first)
  if (!tenant.success) throw noPlace()
  return { tenant: tenant.data, row: rest.length === 0 ? undefined : place(rest.join('/')) }
}

function toRow(tenant: TenantId, { firstToken, ...row }: DayUsage): UsageRow {
  const {
    cachedTokens,
    completionTokens,
    day,
    errors,
    key,
    model,
    promptRows,
    promptTokens,
    requests,
    shadowTokens,
  } = row
  const count = firstToken.buckets.reduce((sum, bucket) => sum + bucket, 0)
  const rounded = (ms: number | null) => (ms === null ? null : Math.round(ms * 10) / 10)
  return {
    day,
    tenant,
    key: KeyId.parse(key),
    model,
    requests,
    errors,
    prompt_tokens: promptTokens,
    cached_tokens: cachedTokens,
    prompt_rows: promptRows,
    completion_tokens: completionTokens,
    total_tokens: promptTokens + completionTokens,
    shadow_tokens: shadowTokens,
    first_token_ms: {
      count,
      mean: rounded(count === 0 ? null : firstToken.sumMs / count),
      p50: rounded(histogramQuantile(firstToken.buckets, 0.5)),
      p95: rounded(histogramQuantile(firstToken.buckets, 0.95)),
      p99: rounded(histogramQuantile(firstToken.buckets, 0.99)),
    },
  }
}
