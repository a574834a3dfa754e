import { z } from 'zod'
import type { TenantPolicy } from '../../shared/api/policy.ts'

/** The unit that each limit of a policy counts, and the period after which it has room again. */
export const limitRules = {
  requestsPerMinute: { unit: 'requests', period: 'minute' },
  tokensPerMinute: { unit: 'tokens', period: 'minute' },
  concurrentRequests: { unit: 'slots', period: 'none' },
  tokensPerDay: { unit: 'tokens', period: 'day' },
  tokensPerMonth: { unit: 'tokens', period: 'month' },
} as const satisfies Partial<Record<keyof TenantPolicy, LimitRule>>

interface LimitRule {
  readonly unit: 'requests' | 'tokens' | 'slots'
  readonly period: 'minute' | 'day' | 'month' | 'none'
}

export const LimitName = z.enum([
  'requestsPerMinute',
  'tokensPerMinute',
  'concurrentRequests',
  'tokensPerDay',
  'tokensPerMonth',
] satisfies (keyof typeof limitRules)[])
export type LimitName = keyof typeof limitRules
export const limitNames: readonly LimitName[] = LimitName.options

/** A count that a limit bounds; null when no limit does. */
export const Amount = z.number().nullable()
export type Amount = z.infer<typeof Amount>

export const Limits = z.record(LimitName, Amount)
export type Limits = Readonly<z.infer<typeof Limits>>

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

export const areSame = (a: Limits, b: Limits): boolean => limitNames.every((name) => a[name] === b[name])

/** How one limit stands: of `limit`, `left` can still be granted, and all of it in `resetMs`. */
export const Standing = z.object({
  limit: z.number(),
  left: z.number(),
  /** null for what returns as requests end. */
  resetMs: z.number().nullable(),
})
export type Standing = Readonly<z.infer<typeof Standing>>

/** The limits that are set. */
export const Standings = z.partialRecord(LimitName, Standing)
export type Standings = Readonly<z.infer<typeof Standings>>
