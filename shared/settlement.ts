import { z } from 'zod'
import { RequestId, TenantId } from './ids.ts'
import { Usage } from './wire.ts'

/** Names one attempt at one choice of a request: `{request id}.{choice}.{attempt}`. Safe to log. */
export const SettlementId = z
  .string()
  .regex(
    /^req_[0-9a-f]{32}\.[0-9]{1,4}\.[0-9]{1,2}$/,
    'a settlement id is a request id, a choice and an attempt',
  )
  .brand('SettlementId')
export type SettlementId = z.infer<typeof SettlementId>

/**
 * What a generation used, by the node's own count. A node keeps it until an edge has acknowledged it, so that
 * nothing is lost when the isolate that asked is gone (budgets and usage are settled with it).
 */
export const Settlement = z.strictObject({
  id: SettlementId,
  requestId: RequestId,
  tenant: TenantId,
  /** The edge's own note on what to charge (key, alias, reservation); opaque to the node. */
  meter: z.string().max(512),
  usage: Usage,
  /** `stop`, `length` or an error code. */
  outcome: z.string().max(64),
  /** Milliseconds from arrival to the first token; null when there was none. */
  firstTokenMs: z.number().min(0).nullable(),
  /** When it ended, by the node's clock: milliseconds since 1970. */
  endedAt: z.int().min(0),
})
export type Settlement = z.infer<typeof Settlement>
