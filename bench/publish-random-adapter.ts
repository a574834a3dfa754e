import type { AdminClient } from '../cli/edge/admin-client.ts'
import { serializeAdapterFile } from '../shared/adapter-file.ts'
import { sha256Hex } from '../shared/digest.ts'
import { AdapterDigest, type AliasName, type TenantId } from '../shared/ids.ts'
import { type ManifestShape, type RandomAdapter, randomAdapter } from './random-adapter.ts'

/** Gives a tenant an adapter with random weights, and an alias that names it. */
export async function publishRandomAdapter(
  admin: AdminClient,
  {
    alias,
    manifest,
    tenant,
    ...random
  }: { tenant: TenantId; alias: AliasName; manifest: ManifestShape } & RandomAdapter,
): Promise<AdapterDigest> {
  const bytes = serializeAdapterFile(randomAdapter(manifest, random))
  const digest = AdapterDigest.parse(await sha256Hex(bytes))
  await admin.putAdapter(tenant, { digest, bytes })
  await admin.setAlias(tenant, { alias, digest })
  return digest
}
