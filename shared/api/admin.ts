import { z } from 'zod'
import { EdgeBackbone } from '../backbone.ts'
import { AdapterDigest, AliasName, BackboneDigest, BackboneSlug, KeyId, TenantId } from '../ids.ts'

/** `/admin/v1`: what an operator's key may do. Times are milliseconds since 1970. */

/** `PUT /admin/v1/backbones/{slug}`: the backbone and its `tokenizer.json`. */
export const PutBackboneRequest = z.strictObject({
  backbone: EdgeBackbone,
  tokenizer: z.record(z.string(), z.unknown()),
})
export type PutBackboneRequest = z.infer<typeof PutBackboneRequest>

export const BackboneSummary = z.object({
  slug: BackboneSlug,
  digest: BackboneDigest,
  contextLength: z.int(),
})
/** `GET /admin/v1/backbones`. */
export const BackboneList = z.object({ backbones: z.array(BackboneSummary) })
export type BackboneList = z.infer<typeof BackboneList>

/** `POST /admin/v1/tenants`. */
export const CreateTenantRequest = z.strictObject({ id: TenantId })

/** `GET /admin/v1/tenants`. */
export const TenantList = z.object({ tenants: z.array(z.object({ id: TenantId })) })
export type TenantList = z.infer<typeof TenantList>

export const KeySummary = z.object({ id: KeyId, name: z.string(), createdAt: z.int() })
export const AdapterSummary = z.object({
  digest: AdapterDigest,
  backbone: BackboneSlug,
  kind: z.string(),
  /** Prompt rows (`l_sp`): context the adapter takes. */
  rows: z.int(),
  bytes: z.int(),
  createdAt: z.int(),
})
export type AdapterSummary = z.infer<typeof AdapterSummary>
export const AliasSummary = z.object({ alias: AliasName, digest: AdapterDigest, updatedAt: z.int() })

/** `GET /admin/v1/tenants/{id}`. Keys without their secrets. */
export const TenantSummary = z.object({
  id: TenantId,
  createdAt: z.int(),
  keys: z.array(KeySummary),
  adapters: z.array(AdapterSummary),
  aliases: z.array(AliasSummary),
})
export type TenantSummary = z.infer<typeof TenantSummary>

/** `POST /admin/v1/tenants/{id}/keys`. */
export const CreateKeyRequest = z.strictObject({ name: z.string().max(128).default('') })
/** The only time the secret is shown. */
export const CreateKeyResponse = z.object({ id: KeyId, key: z.string() })
export type CreateKeyResponse = z.infer<typeof CreateKeyResponse>

/** `PUT /admin/v1/tenants/{id}/aliases/{alias}`. */
export const PutAliasRequest = z.strictObject({ digest: AdapterDigest })
