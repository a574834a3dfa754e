import { z } from 'zod'

const sha256 = /^[0-9a-f]{64}$/

/** Who pays and is isolated: a DNS-label-shaped slug. */
export const TenantId = z
  .string()
  .regex(/^[a-z0-9](?:[a-z0-9-]{0,62}[a-z0-9])?$/, 'a tenant id has 1 to 64 of a-z, 0-9 and inner hyphens')
  .brand('TenantId')
export type TenantId = z.infer<typeof TenantId>

/** SHA-256 of an adapter file, lower-case hex. */
export const AdapterDigest = z
  .string()
  .regex(sha256, 'an adapter digest is 64 lower-case hex digits')
  .brand('AdapterDigest')
export type AdapterDigest = z.infer<typeof AdapterDigest>

/** One tenant's adapter. Two tenants with the same file have two adapters, which are apart everywhere. */
export type AdapterKey = `${TenantId}/${AdapterDigest}`
export const adapterKey = (tenant: TenantId, digest: AdapterDigest): AdapterKey => `${tenant}/${digest}`

/** SHA-256 of a backbone's converted weights, lower-case hex. */
export const BackboneDigest = z
  .string()
  .regex(sha256, 'a backbone digest is 64 lower-case hex digits')
  .brand('BackboneDigest')
export type BackboneDigest = z.infer<typeof BackboneDigest>

/** Name of a backbone, also the `model` a client asks for to get the untuned model. */
export const BackboneSlug = z
  .string()
  .regex(/^[a-z0-9](?:[a-z0-9._-]{0,62}[a-z0-9])?$/, 'a backbone slug has 1 to 64 of a-z, 0-9, dot, _ and -')
  .brand('BackboneSlug')
export type BackboneSlug = z.infer<typeof BackboneSlug>

/** A tenant's name for an adapter digest. */
export const AliasName = z
  .string()
  .regex(
    /^[a-z0-9](?:[a-z0-9._:-]{0,62}[a-z0-9])?$/,
    'an alias has 1 to 64 of a-z, 0-9, dot, _, colon and -, and starts and ends with a letter or digit',
  )
  .brand('AliasName')
export type AliasName = z.infer<typeof AliasName>

/** Identifies an API key without revealing it; safe to log. */
export const KeyId = z
  .string()
  .regex(/^key_[0-9a-z]{12}$/, 'a key id is key_ and 12 of 0-9, a-z')
  .brand('KeyId')
export type KeyId = z.infer<typeof KeyId>

/** One client request, from edge to node; safe to log. */
export const RequestId = z
  .string()
  .regex(/^req_[0-9a-f]{32}$/, 'a request id is req_ and 32 hex digits')
  .brand('RequestId')
export type RequestId = z.infer<typeof RequestId>

/** Names one attempt at one choice of a request: `{request id}.{choice}.{attempt}`. Safe to log. */
export const SettlementId = z
  .string()
  .regex(
    /^req_[0-9a-f]{32}\.[0-9]{1,4}\.[0-9]{1,2}$/,
    'a settlement id is a request id, a choice and an attempt',
  )
  .brand('SettlementId')
export type SettlementId = z.infer<typeof SettlementId>

export function settlementId(of: { requestId: RequestId; choice: number; attempt: number }): SettlementId {
  return SettlementId.parse(`${of.requestId}.${of.choice}.${of.attempt}`)
}

export function newRequestId(): RequestId {
  return RequestId.parse(`req_${crypto.randomUUID().replaceAll('-', '')}`)
}
