import type { FileId } from '../../shared/api/files.ts'
import type { JobId } from '../../shared/api/fine-tuning.ts'
import type { TenantId } from '../../shared/ids.ts'

/** Where things lie in the bucket: the tenant stands first in every key. */
export const fileKey = (tenant: TenantId, file: FileId): string => `${tenant}/files/${file}`

/** The last checkpoint of a job. A trainer that lost its lease writes under its own fence, where nobody reads. */
export const checkpointKey = (
  tenant: TenantId,
  job: JobId,
  at: { readonly fence: number; readonly step: number },
): string => `${tenant}/checkpoints/${job}/${at.fence}-${at.step}`
