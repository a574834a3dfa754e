import { z } from 'zod'
import { RequestId, SettlementId, TenantId } from './ids.ts'
import { Usage } from './wire.ts'

const maxTermsLength = 512

/** A node forgets a settlement that nobody took for this long; an edge remembers twice as long what it charged. */
export const settlementKeepMs = 6 * 3_600_000

/**
 * The tokens that a generation used, as the node counts them. A node keeps a settlement until an edge has acknowledged
 * it, so that nothing is lost when the isolate that asked is gone. Budgets and usage are settled with it.
 */
export const Settlement = z.strictObject({
  id: SettlementId,
  requestId: RequestId,
  tenant: TenantId,
  /** The edge's own note on what to charge (key, model, lease); opaque to the node. */
  terms: z.string().max(maxTermsLength),
  usage: Usage,
  /** `stop`, `length` or an error code. */
  outcome: z.string().max(64),
  /** Milliseconds from arrival to the first token; null when there was none. */
  firstTokenMs: z.number().min(0).nullable(),
  /** When it ended, by the node's clock: milliseconds since 1970. */
  endedAt: z.int().min(0),
})
export type Settlement = z.infer<typeof Settlement>

export const maxSettlementsPerCall = 512

/**
 * `POST /v1/settlements` of a node: the edge names the settlements of a tenant that it has charged, and those that it
 * wants to see.
 */
export const SettlementsRequest = z.strictObject({
  /** These are charged: the node forgets them. */
  acknowledge: z.array(SettlementId).max(maxSettlementsPerCall),
  /** These are wanted, as far as they are over. */
  collect: z.array(SettlementId).max(maxSettlementsPerCall),
})
export type SettlementsRequest = z.infer<typeof SettlementsRequest>

export const SettlementsResponse = z.object({
  /** The wanted settlements that are over and not yet acknowledged. */
  settlements: z.array(Settlement),
  /** The wanted settlements that still run. The node does not know the rest. */
  running: z.array(SettlementId),
})
export type SettlementsResponse = z.infer<typeof SettlementsResponse>
