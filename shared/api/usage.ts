import { z } from 'zod'
import { KeyId, TenantId } from '../ids.ts'
import { BudgetAlert } from './alerts.ts'
import { pageQuery } from './paging.ts'
import { maxModelLength } from './parameters.ts'

const maxUsageDays = 366

const Day = z.iso.date('must be a day like 2026-11-24')
const dayMs = 86_400_000

const Range = z.object({
  /** UTC days, both included; by default this month up to today. */
  from: Day.optional(),
  to: Day.optional(),
  format: z.enum(['json', 'csv'], 'must be json or csv').optional(),
})

const inOrder = ({ from, to }: { from?: string | undefined; to?: string | undefined }) =>
  from === undefined || to === undefined || from <= to
const notTooLong = ({ from, to }: { from?: string | undefined; to?: string | undefined }) =>
  from === undefined || Date.parse(to ?? new Date().toISOString()) - Date.parse(from) < maxUsageDays * dayMs

/** The longest id of a row: its day, key and model. */
const longest = '2026-11-24/key_0123456789ab/'.length + maxModelLength
const pages = { usual: 1_000, most: 10_000 }

/** `GET /v1/usage`. */
export const UsageQuery = Range.extend(pageQuery({ ...pages, longest }))
  .strict()
  .refine(inOrder, { path: ['from'], error: 'is after to' })
  .refine(notTooLong, { path: ['from'], error: `lies more than ${maxUsageDays} days back from to` })

/** `GET /admin/v1/usage` lists one tenant's usage, or that of all tenants, deleted ones too. */
export const AdminUsageQuery = Range.extend({
  /** A page's `last_id` names a tenant too, where all are listed. */
  ...pageQuery({ ...pages, longest: 64 + '/'.length + longest }),
  tenant: TenantId.optional(),
})
  .strict()
  .refine(inOrder, { path: ['from'], error: 'is after to' })
  .refine(notTooLong, { path: ['from'], error: `lies more than ${maxUsageDays} days back from to` })

const count = z.int().min(0)
const milliseconds = z.number().min(0)

/** The usage on one UTC day with one key and one model, by the nodes' own counts. */
export const UsageRow = z.object({
  day: Day,
  tenant: TenantId,
  key: KeyId,
  /** The name that the client used: an alias or a backbone. */
  model: z.string(),
  /** One for each model that a request names: rows of a request by `models` sum to more than one. */
  requests: count,
  /** Requests among them that failed for a reason that was not the client's. */
  errors: count,
  prompt_tokens: count,
  /**
   * The prompt tokens that an earlier request had run already. They count in the limits with the policy's
   * `cachedTokenShare`.
   */
  cached_tokens: count,
  /** Rows that adapters put in front of those prompts. A row takes as much of the limits as a token. */
  prompt_rows: count,
  completion_tokens: count,
  total_tokens: count,
  /** Tokens and rows that shadows ran beside these requests. They count in none of the fields above, and in no other limit than `shadowTokensPerDay`. */
  shadow_tokens: count,
  /** Time to first token at the node; percentiles as far as buckets tell, null without any. */
  first_token_ms: z.object({
    count,
    mean: milliseconds.nullable(),
    p50: milliseconds.nullable(),
    p95: milliseconds.nullable(),
    p99: milliseconds.nullable(),
  }),
})
export type UsageRow = z.infer<typeof UsageRow>

export const UsageList = z.object({
  object: z.literal('list'),
  from: Day,
  to: Day,
  data: z.array(UsageRow),
  /** The next page's `after`; a page that is empty may not be the last. */
  last_id: z.string().nullable(),
  has_more: z.boolean(),
})
export type UsageList = z.infer<typeof UsageList>

const limitStanding = z.object({
  limit: count,
  left: count,
  /** Milliseconds until all of it is there again; null for what returns as requests end. */
  resetMs: z.number().nullable(),
})

/** `GET /admin/v1/tenants/{id}/budget`: how a tenant's limits stand now. */
export const BudgetReport = z.object({
  /** Tokens of the running UTC day and month. */
  spent: z.object({ day: count, month: count }),
  /** Isolates hold this for requests that run and requests to come. */
  held: z.object({ tokens: count, slots: count, holders: count }),
  /** The limits that are set. */
  limits: z.record(z.string(), limitStanding),
  /** The thresholds of budgets that were reached, newest first. */
  alerts: z.array(BudgetAlert),
  /** Calls to the budget's owner since it started. */
  calls: count,
})
export type BudgetReport = z.infer<typeof BudgetReport>
