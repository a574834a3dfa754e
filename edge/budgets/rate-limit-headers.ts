import { createMiddleware } from 'hono/factory'
import type { TenantApp } from '../request-context.ts'
import type { LeaseRest } from './lease.ts'
import { type LimitName, type Limits, limitsOf, type Standing } from './limits.ts'
import type { TenantAccount } from './tenant-account.ts'

/** Stands on every answer to a tenant whose policy sets the limit. */
export const rateLimitHeaders = {
  'x-ratelimit-limit-requests': 'Requests per minute that the policy allows.',
  'x-ratelimit-remaining-requests': 'Of those, how many are left.',
  'x-ratelimit-reset-requests': 'Until they are all there again, like `6s` or `1m30s`.',
  'x-ratelimit-limit-tokens': 'Tokens that the tightest limit of the policy allows.',
  'x-ratelimit-remaining-tokens': 'Of those, how many are left.',
  'x-ratelimit-reset-tokens': 'Until they are all there again, like `6s` or `1m30s`.',
  'x-ratelimit-limit-concurrent-requests': 'Requests at the same time that the policy allows.',
  'x-ratelimit-remaining-concurrent-requests': 'How many more may begin now.',
} as const

type Headers = Partial<Record<keyof typeof rateLimitHeaders, string>>
type Known = TenantAccount['standings']

/**
 * Says on every answer how the tenant's limits stand, as OpenAI does, the limit on requests at the same time included.
 * The figures are those of this isolate's last exchange with the budget's owner, plus what it holds itself. Limits that
 * are not set have no headers.
 */
export const rateLimits = createMiddleware<TenantApp>(async (c, next) => {
  await next()
  const standings = c.get('platform').budgets.standings(c.get('tenant'))
  const headers = rateLimitHeadersOf(limitsOf(c.get('tenantRecord').policy), standings)
  for (const [name, value] of Object.entries(headers)) c.res.headers.set(name, value)
})

function rateLimitHeadersOf(limits: Limits, known: Known): Headers {
  return {
    ...headersOf('requests', bound('requestsPerMinute', limits, known)),
    ...headersOf('tokens', tightest(limits, known)),
    ...headersOf('concurrent-requests', bound('concurrentRequests', limits, known)),
  }
}

interface Bound {
  readonly limit: number
  /** Undefined while the owner has not been asked. */
  readonly rest: Rest | undefined
}

interface Rest {
  readonly left: number
  /** null for what returns as requests end. */
  readonly resetMs: number | null
}

function headersOf(unit: 'requests' | 'tokens' | 'concurrent-requests', bound: Bound | undefined): Headers {
  if (bound === undefined) return {}
  const { limit, rest } = bound
  return {
    [`x-ratelimit-limit-${unit}`]: String(limit),
    ...(rest && { [`x-ratelimit-remaining-${unit}`]: String(rest.left) }),
    ...(rest?.resetMs != null && { [`x-ratelimit-reset-${unit}`]: duration(rest.resetMs) }),
  }
}

function bound(name: LimitName, limits: Limits, known: Known): Bound | undefined {
  const standing = known?.standings[name]
  const limit = standing?.limit ?? limits[name]
  if (limit === null || limit === undefined) return undefined
  return { limit, rest: standing && known && restOf(name, standing, known) }
}

const heldAs: Readonly<Record<LimitName, keyof LeaseRest>> = {
  concurrentRequests: 'slots',
  requestsPerMinute: 'requests',
  tokensPerMinute: 'allowance',
  tokensPerDay: 'tokens',
  tokensPerMonth: 'tokens',
}

function restOf(
  name: LimitName,
  { left, limit, resetMs }: Standing,
  { ageMs, left: held }: NonNullable<Known>,
): Rest {
  const remaining = resetMs === null ? null : resetMs - ageMs
  if (remaining !== null && remaining <= 0) return { left: limit, resetMs: 0 }
  return { left: Math.min(limit, left + held[heldAs[name]]), resetMs: remaining }
}

/** The limit on tokens that leaves the least. */
function tightest(limits: Limits, known: Known): Bound | undefined {
  const left = ({ limit, rest }: Bound) => rest?.left ?? limit
  return (['tokensPerMinute', 'tokensPerDay', 'tokensPerMonth'] as const)
    .flatMap((name) => bound(name, limits, known) ?? [])
    .reduce<Bound | undefined>(
      (least, next) => (least && left(least) <= left(next) ? least : next),
      undefined,
    )
}

/** Writes a duration as OpenAI does: `120ms`, `6s`, `1m30s`, `13h4m0s`. */
function duration(ms: number): string {
  if (ms < 1_000) return `${Math.max(0, Math.ceil(ms))}ms`
  const seconds = Math.ceil(ms / 1_000)
  const [hours, minutes] = [Math.floor(seconds / 3_600), Math.floor((seconds % 3_600) / 60)]
  return `${hours > 0 ? `${hours}h` : ''}${seconds >= 60 ? `${minutes}m` : ''}${seconds % 60}s`
}
