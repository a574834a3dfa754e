import { z } from 'zod'
import { BatchId } from '../../shared/api/batches.ts'
import { FileId } from '../../shared/api/files.ts'
import { JobId } from '../../shared/api/fine-tuning.ts'
import { AdapterDigest, AliasName, BackboneSlug, KeyId, TenantId } from '../../shared/ids.ts'

/** The schema of each parameter of a path, by its name in the routes. */
export const pathSchemas = {
  id: TenantId,
  keyId: KeyId,
  digest: AdapterDigest,
  alias: AliasName,
  slug: BackboneSlug,
  file: FileId,
  job: JobId,
  batch: BatchId,
  /** Any text: a name that cannot be is answered like one that nobody has. */
  model: z.string(),
  /** Any text, for the same reason. */
  response: z.string(),
} as const

/** The parameters of one path. */
export const PathParameters = z.strictObject(pathSchemas).partial()
export type PathParameters = z.infer<typeof PathParameters>
