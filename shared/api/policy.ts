import { z } from 'zod'
import { AliasName } from '../ids.ts'

const limit = z.int().min(0).max(Number.MAX_SAFE_INTEGER).nullable()
/** The models a tenant may ask for; null means all of its aliases and the backbone. */
const aliases = z.array(AliasName).max(1_000).nullable()

/** A cached prompt token (an earlier request ran it) is charged as this part of a token, from 0 to 1. */
const cachedTokenShare = z.number().min(0).max(1)

/** A token of a batch is charged as this part of a token, from 0 to 1. */
const batchTokenShare = z.number().min(0).max(1)

/** The limits of a tenant; null means without limit. Budget days and months are UTC. */
export const TenantPolicy = z.strictObject({
  requestsPerMinute: limit.default(null),
  tokensPerMinute: limit.default(null),
  concurrentRequests: limit.default(null),
  tokensPerDay: limit.default(null),
  tokensPerMonth: limit.default(null),
  aliases: aliases.default(null),
  /** Bytes of all its adapters together. */
  adapterBytes: limit.default(null),
  /** Whether a request with a field that nobody knows is refused, rather than answered with its name in a header. */
  strictParameters: z.boolean().default(false),
  cachedTokenShare: cachedTokenShare.default(1),
  batchTokenShare: batchTokenShare.default(0.5),
  /** Bytes of all its files together. */
  fileBytes: limit.default(null),
  /** Tokens that its fine-tuning jobs may train in a UTC month. */
  trainingTokensPerMonth: limit.default(null),
  /** Tokens that shadows of its aliases may run in a UTC day; by default none. They are counted apart from all other limits. */
  shadowTokensPerDay: limit.default(0),
})
export type TenantPolicy = z.infer<typeof TenantPolicy>

export const unlimited: TenantPolicy = TenantPolicy.parse({})

/** A change of a policy: the limits it names, the others stay as they are. */
export const TenantPolicyChange = z.strictObject({
  requestsPerMinute: limit.optional(),
  tokensPerMinute: limit.optional(),
  concurrentRequests: limit.optional(),
  tokensPerDay: limit.optional(),
  tokensPerMonth: limit.optional(),
  aliases: aliases.optional(),
  adapterBytes: limit.optional(),
  strictParameters: z.boolean().optional(),
  cachedTokenShare: cachedTokenShare.optional(),
  batchTokenShare: batchTokenShare.optional(),
  fileBytes: limit.optional(),
  trainingTokensPerMonth: limit.optional(),
  shadowTokensPerDay: limit.optional(),
})
export type TenantPolicyChange = z.infer<typeof TenantPolicyChange>
