import { z } from 'zod'
import { TenantStatus } from '../../shared/api/admin.ts'
import { AdapterSummary, CanaryShare } from '../../shared/api/deployments.ts'
import { TenantPolicy } from '../../shared/api/policy.ts'
import { Scopes } from '../../shared/api/scopes.ts'
import { AnswerForm } from '../../shared/api/structure.ts'
import { EdgeBackbone } from '../../shared/backbone.ts'
import { AdapterDigest, AliasName, BackboneSlug, KeyId, TenantId } from '../../shared/ids.ts'

/**
 * The records in KV: projections that `TenantDirectory` (and, for backbones, the admin API) writes and requests read.
 * KV may be a minute late; a record's version tells when it is too old (feed/feed-view.ts).
 */

/** `key:{sha256 of the key}`. Deleted when the key is revoked. */
export const KeyRecord = z.object({
  tenant: TenantId,
  keyId: KeyId,
  /** Milliseconds since 1970. */
  expiresAt: z.int().optional(),
  /** Absent, as null, lets the key do everything. */
  scopes: Scopes.optional(),
})
export type KeyRecord = z.infer<typeof KeyRecord>

const AliasTarget = z.object({
  digest: AdapterDigest,
  backbone: BackboneSlug,
  /** Prompt rows the adapter puts in the context. */
  rows: z.int().min(0),
  /** The number of prompt tokens behind late rows; absent where rows are not late. */
  tail: z.int().min(1).optional(),
  /** Whether its rows stand in front of a prompt's newest turn; absent where they stand elsewhere. */
  placement: z.literal('turn').optional(),
})
export type AliasTarget = z.infer<typeof AliasTarget>

/** Where the rows of an adapter that are not late stand, in words. */
export const standsInWords = ({ placement }: Pick<AliasTarget, 'placement'>): string =>
  placement === 'turn' ? 'in front of the newest turn' : "at the prompt's start"

export const AliasRecord = AliasTarget.extend({
  updatedAt: z.int(),
  version: z.int().default(1),
  /** The form of its answers, by its key in the tenant's `forms`; absent where it has none. */
  form: z.string().optional(),
  canary: AliasTarget.extend({ percent: z.int(), by: CanaryShare }).optional(),
  shadow: AliasTarget.extend({ percent: z.int() }).optional(),
})
export type AliasRecord = z.infer<typeof AliasRecord>

/** `tenant:{id}`. */
export const TenantRecord = z.object({
  id: TenantId,
  /** Tells a tenant from an earlier one of its name. */
  createdAt: z.int(),
  /** Counts every change of the tenant. */
  version: z.int(),
  status: TenantStatus,
  policy: TenantPolicy,
  aliases: z.record(AliasName, AliasRecord),
  /** Several aliases may share a form. */
  forms: z.record(z.string(), AnswerForm).default({}),
})
export type TenantRecord = z.infer<typeof TenantRecord>

/** `adapters:{id}`: the tenant's adapters, for lists. */
export const AdaptersRecord = z.object({ version: z.int(), adapters: z.array(AdapterSummary) })
export type AdaptersRecord = z.infer<typeof AdaptersRecord>

/** `backbone:{slug}`; the compiled tokenizer lies beside it under `tokenizer:{sha256}`. */
export const BackboneRecord = z.object({
  backbone: EdgeBackbone,
  tokenizer: z.string().regex(/^[0-9a-f]{64}$/),
  createdAt: z.int(),
})
export type BackboneRecord = z.infer<typeof BackboneRecord>

export const storeKeys = {
  key: (sha256: string) => `key:${sha256}`,
  tenant: (id: TenantId) => `tenant:${id}`,
  adapters: (id: TenantId) => `adapters:${id}`,
  adapter: (tenant: TenantId, digest: AdapterDigest) => `adapter:${tenant}:${digest}`,
  adapterPart: (tenant: TenantId, upload: string, part: number) => `adapter-part:${tenant}:${upload}:${part}`,
  backbones: 'backbone:',
  backbone: (slug: BackboneSlug) => `backbone:${slug}`,
  tokenizer: (sha256: string) => `tokenizer:${sha256}`,
} as const

/** One KV value takes at most 25 MiB. */
export const maxStoredBytes = 25 * 1024 * 1024
