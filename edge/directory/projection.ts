import type { TenantId } from '../../shared/ids.ts'
import type { KvStore } from '../store/kv-store.ts'
import { type AdaptersRecord, type KeyRecord, storeKeys, type TenantRecord } from '../store/records.ts'

export interface Projection {
  readonly id: TenantId
  /** Whether the tenant's records changed. */
  readonly tenant: boolean
  /** undefined: the tenant was deleted. */
  readonly record: TenantRecord | undefined
  readonly adapters: AdaptersRecord | undefined
  /** Keys that changed; null is revoked. */
  readonly keys: readonly { readonly sha256: string; readonly record: KeyRecord | null }[]
  /** KV keys of bytes that nobody needs any more. */
  readonly removals: readonly string[]
  readonly removed: (key: string) => void
}

/**
 * Writes a tenant as it stands into KV. False when KV did not take all of it (it takes one write a second per key):
 * then it must be done again, and until then requests go by the change feed.
 */
export async function projectDirectory(store: KvStore, projection: Projection): Promise<boolean> {
  const { adapters, id, keys, record, removals, removed, tenant } = projection
  const writes = [
    ...keys.map((key) => store.putRecord(storeKeys.key(key.sha256), key.record ?? undefined)),
    ...(tenant
      ? [
          store.putRecord(storeKeys.tenant(id), record),
          store.putRecord(storeKeys.adapters(id), record === undefined ? undefined : adapters),
        ]
      : []),
    ...removals.map(async (key) => {
      await store.delete(key)
      removed(key)
    }),
  ]
  const results = await Promise.allSettled(writes)
  return results.every(({ status }) => status === 'fulfilled')
}
