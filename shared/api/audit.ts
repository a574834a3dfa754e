import { z } from 'zod'
import { RequestId, TenantId } from '../ids.ts'
import { Page, pageQuery } from './paging.ts'

const time = z
  .string()
  .regex(/^[0-9]{1,15}$/, 'must be milliseconds since 1970')
  .transform(Number)

/** One action that changes something, from the append-only log. Never holds a secret. */
export const AuditEntry = z.object({
  id: z.int(),
  /** Milliseconds since 1970, when it began. */
  at: z.int(),
  requestId: RequestId,
  /** `admin`, or the id of the tenant's key. */
  actor: z.string(),
  /** `tenant.create`, `key.revoke`, `alias.deploy`, … */
  action: z.string(),
  tenant: TenantId.nullable(),
  /** The object of the action: ids from the path and the request. */
  target: z.record(z.string(), z.string()),
  /** `ok`, an error's code, or `unknown`: it began, and how it ended was never written. */
  outcome: z.string(),
})
export type AuditEntry = z.infer<typeof AuditEntry>

/** `GET /admin/v1/audit`: newest first. */
export const AuditQuery = z.strictObject({
  ...pageQuery({ usual: 100, most: 1_000 }),
  tenant: TenantId.optional(),
  actor: z.string().min(1).max(64).optional(),
  /** An action, or its first word (`key` for `key.create`, `key.revoke`, …). */
  action: z
    .string()
    .regex(/^[a-z]+(\.[a-z]+)?$/, 'an action is like key or key.revoke')
    .optional(),
  since: time.optional(),
  until: time.optional(),
})
export type AuditQuery = z.infer<typeof AuditQuery>
export const AuditPage = Page(AuditEntry)
