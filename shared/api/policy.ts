import { z } from 'zod'
import { AliasName } from '../ids.ts'

const limit = z.int().min(0).max(Number.MAX_SAFE_INTEGER).nullable().default(null)

/** What a tenant may do; null means without limit. Budget days and months are UTC. */
export const TenantPolicy = z.strictObject({
  requestsPerMinute: limit,
  tokensPerMinute: limit,
  concurrentRequests: limit,
  tokensPerDay: limit,
  tokensPerMonth: limit,
  /** The models it may ask for; null means all of its aliases and the backbone. */
  aliases: z.array(AliasName).max(1_000).nullable().default(null),
  /** Bytes of all its adapters together. */
  adapterBytes: limit,
})
export type TenantPolicy = z.infer<typeof TenantPolicy>
