import { z } from 'zod'
import { EdgeBackbone } from '../backbone.ts'
import { BackboneDigest, BackboneSlug, KeyId, TenantId } from '../ids.ts'
import { AdapterSummary, AliasSummary } from './deployments.ts'
import { pageQuery } from './paging.ts'
import { TenantPolicy, TenantPolicyChange } from './policy.ts'
import { Scopes } from './scopes.ts'

/** `/admin/v1` is the API for an operator's key. Times are milliseconds since 1970. */

/**
 * `PUT /admin/v1/backbones/{slug}`: the backbone and its tokenizer, compiled (`quartet` sends that, in base64) or as
 * `tokenizer.json`, which the worker compiles: for small vocabularies alone, as a worker's time is short.
 */
export const PutBackboneRequest = z.strictObject({
  backbone: EdgeBackbone,
  tokenizer: z.union([z.string().min(1), z.record(z.string(), z.unknown())], {
    error: 'must be a tokenizer.json, or a compiled tokenizer in base64',
  }),
})
export type PutBackboneRequest = z.infer<typeof PutBackboneRequest>

const BackboneSummary = z.object({
  slug: BackboneSlug,
  digest: BackboneDigest,
  contextLength: z.int(),
})
/** `GET /admin/v1/backbones`. */
export const BackboneList = z.object({ backbones: z.array(BackboneSummary) })
export type BackboneList = z.infer<typeof BackboneList>

export const TenantStatus = z.enum(['active', 'suspended'])
export type TenantStatus = z.infer<typeof TenantStatus>

/** `POST /admin/v1/tenants`. */
export const CreateTenantRequest = z.strictObject({ id: TenantId, policy: TenantPolicy.optional() })

/** `PATCH /admin/v1/tenants/{id}`. */
export const ChangeTenantRequest = z
  .strictObject({ status: TenantStatus.optional(), policy: TenantPolicyChange.optional() })
  .refine(({ policy, status }) => policy !== undefined || status !== undefined, {
    error: 'changes nothing; give status, policy or both',
  })

const TenantEntry = z.object({ id: TenantId, status: TenantStatus, createdAt: z.int() })
export type TenantEntry = z.infer<typeof TenantEntry>
/** `GET /admin/v1/tenants`: by id. */
export const TenantListQuery = z.strictObject(pageQuery({ usual: 100, most: 1_000 }))
export const TenantList = z.object({
  tenants: z.array(TenantEntry),
  last_id: z.string().nullable(),
  has_more: z.boolean(),
})
export type TenantList = z.infer<typeof TenantList>

export const KeySummary = z.object({
  id: KeyId,
  name: z.string(),
  createdAt: z.int(),
  expiresAt: z.int().nullable(),
  scopes: Scopes,
})
export type KeySummary = z.infer<typeof KeySummary>

/** `GET /admin/v1/tenants/{id}`. Keys without their secrets. */
export const TenantSummary = TenantEntry.extend({
  policy: TenantPolicy,
  keys: z.array(KeySummary),
  adapters: z.array(AdapterSummary),
  aliases: z.array(AliasSummary),
})
export type TenantSummary = z.infer<typeof TenantSummary>

/** When a key stops working; null is never. */
const momentError =
  'must be milliseconds since 1970, as a whole number (Date.parse gives it), or null for never'
const expiresAt = z.int(momentError).min(0, momentError).nullable()

/** `POST /admin/v1/tenants/{id}/keys`. */
export const CreateKeyRequest = z.strictObject({
  name: z.string().max(128).default(''),
  expiresAt: expiresAt.default(null),
  scopes: Scopes.default(null),
})
/** The only time the secret is shown. */
export const CreateKeyResponse = z.object({
  id: KeyId,
  key: z.string(),
  expiresAt: z.int().nullable(),
  scopes: Scopes,
})
export type CreateKeyResponse = z.infer<typeof CreateKeyResponse>

/** `PATCH /admin/v1/tenants/{id}/keys/{keyId}`. */
export const ChangeKeyRequest = z
  .strictObject({ expiresAt: expiresAt.optional(), scopes: Scopes.optional() })
  .refine((change) => change.expiresAt !== undefined || change.scopes !== undefined, {
    error: 'changes nothing; give expiresAt, scopes or both',
  })
export type ChangeKeyRequest = z.infer<typeof ChangeKeyRequest>
