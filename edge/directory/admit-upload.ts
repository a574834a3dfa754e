import { type AdapterSummary, maxAdaptersPerTenant } from '../../shared/api/deployments.ts'
import type { AdapterDigest, TenantId } from '../../shared/ids.ts'
import type { AdapterTable, Upload } from './adapter-table.ts'
import { type Outcome, ok, refuse } from './outcome.ts'
import type { Tables } from './tables.ts'

/** Whether there is room for a file; the adapter itself when the tenant has it already. */
export function admitUpload(
  { bytes, digest }: Upload,
  { tables, tenant: id }: { tenant: TenantId; tables: Pick<Tables, 'adapters' | 'tenant'> },
): Outcome<AdapterSummary | null> {
  const { adapters, tenant } = tables
  const existing = digest === null ? undefined : adapters.find(digest)
  if (existing !== undefined) return ok(existing)
  if (digest !== null && adapters.isBeingRemoved(id, digest)) return beingRemoved()
  const unless = digest === null ? '; if the tenant has this very file already, name its digest' : ''
  if (adapters.count() + adapters.uploads() >= maxAdaptersPerTenant)
    return refuse(
      'adapter_storage_exceeded',
      `a tenant has at most ${maxAdaptersPerTenant} adapters; delete some${unless}`,
    )
  const allowed = tenant.policy.adapterBytes
  const held = adapters.bytesBeside(digest)
  if (allowed !== null && held + bytes > allowed)
    return refuse(
      'adapter_storage_exceeded',
      `the adapter has ${bytes} bytes and ${Math.max(0, allowed - held)} of the ${allowed} that this tenant may store are left; delete adapters or have the limit raised${unless}`,
    )
  return ok(null)
}

/** Notes the digest of an upload that began without, unless the tenant has the adapter already: that is the value. */
export function nameUpload(
  { digest, id: upload }: { id: string; digest: AdapterDigest },
  { adapters, tenant }: { tenant: TenantId; adapters: AdapterTable },
): Outcome<AdapterSummary | null> {
  const existing = adapters.find(digest)
  if (existing !== undefined) return ok(existing)
  if (adapters.isBeingRemoved(tenant, digest)) return beingRemoved()
  if (!adapters.hasUpload(upload)) return givenUp()
  adapters.name(upload, digest)
  return ok(null)
}

export const beingRemoved = () =>
  refuse('conflict', 'this adapter was deleted a moment ago and is still being removed; retry', {
    isTransient: true,
  })

export const givenUp = () => refuse('conflict', 'the upload took too long and was given up; repeat it')
