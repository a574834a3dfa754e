import { z } from 'zod'
import { EdgeBackbone } from '../../shared/backbone.ts'
import { AdapterDigest, AliasName, BackboneSlug, KeyId, TenantId } from '../../shared/ids.ts'

/** What lies in KV: projections that `TenantDirectory` (and, for backbones, the admin API) writes and requests read. */

/** `key:{sha256 of the key}`. Deleted when the key is revoked. */
export const KeyRecord = z.object({
  tenant: TenantId,
  keyId: KeyId,
  /** Milliseconds since 1970. */
  expiresAt: z.int().optional(),
})
export type KeyRecord = z.infer<typeof KeyRecord>

export const AliasRecord = z.object({
  digest: AdapterDigest,
  backbone: BackboneSlug,
  /** Prompt rows the adapter puts in the context. */
  rows: z.int().min(0),
  updatedAt: z.int(),
})
export type AliasRecord = z.infer<typeof AliasRecord>

/** `tenant:{id}`. */
export const TenantRecord = z.object({ id: TenantId, aliases: z.record(AliasName, AliasRecord) })
export type TenantRecord = z.infer<typeof TenantRecord>

/** `backbone:{slug}`; the tokenizer.json lies beside it under `tokenizer:{sha256}`. */
export const BackboneRecord = z.object({
  backbone: EdgeBackbone,
  tokenizer: z.string().regex(/^[0-9a-f]{64}$/),
  createdAt: z.int(),
})
export type BackboneRecord = z.infer<typeof BackboneRecord>

export const storeKeys = {
  key: (sha256: string) => `key:${sha256}`,
  tenants: 'tenant:',
  tenant: (id: TenantId) => `tenant:${id}`,
  adapter: (tenant: TenantId, digest: AdapterDigest) => `adapter:${tenant}:${digest}`,
  backbones: 'backbone:',
  backbone: (slug: BackboneSlug) => `backbone:${slug}`,
  tokenizer: (sha256: string) => `tokenizer:${sha256}`,
} as const

/** One KV value takes at most 25 MiB. */
export const maxStoredBytes = 25 * 1024 * 1024
