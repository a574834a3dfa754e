import type { TenantPolicy } from '../../shared/api/policy.ts'

/** What each limit of a policy counts, and the clock that makes room again. */
export const limitRules = {
  requestsPerMinute: { unit: 'requests', clock: 'minute' },
  tokensPerMinute: { unit: 'tokens', clock: 'minute' },
  concurrentRequests: { unit: 'slots', clock: 'none' },
  tokensPerDay: { unit: 'tokens', clock: 'day' },
  tokensPerMonth: { unit: 'tokens', clock: 'month' },
} as const satisfies Partial<Record<keyof TenantPolicy, LimitRule>>

interface LimitRule {
  readonly unit: 'requests' | 'tokens' | 'slots'
  readonly clock: 'minute' | 'day' | 'month' | 'none'
}

export type LimitName = keyof typeof limitRules

/** A count that a limit bounds; null when no limit does. */
export type Amount = number | null

export type Limits = Readonly<Record<LimitName, Amount>>

export const limitNames: readonly LimitName[] = [
  'requestsPerMinute',
  'tokensPerMinute',
  'concurrentRequests',
  'tokensPerDay',
  'tokensPerMonth',
]

export const noLimits: Limits = {
  requestsPerMinute: null,
  tokensPerMinute: null,
  concurrentRequests: null,
  tokensPerDay: null,
  tokensPerMonth: null,
}

export function limitsOf({
  concurrentRequests,
  requestsPerMinute,
  tokensPerDay,
  tokensPerMinute,
  tokensPerMonth,
}: Limits): Limits {
  return { requestsPerMinute, tokensPerMinute, concurrentRequests, tokensPerDay, tokensPerMonth }
}

export const isLimited = (limits: Limits): boolean => limitNames.some((name) => limits[name] !== null)

/** How one limit stands: of `limit`, `left` can still be granted, and all of it in `resetMs`. */
export interface Standing {
  readonly limit: number
  readonly left: number
  /** null for what returns as requests end. */
  readonly resetMs: number | null
}

/** The limits that are set. */
export type Standings = Readonly<Partial<Record<LimitName, Standing>>>
