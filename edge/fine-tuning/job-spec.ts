import { z } from 'zod'
import { FileId, TrainingEstimate } from '../../shared/api/files.ts'
import { Hyperparameters } from '../../shared/api/fine-tuning.ts'
import { AdapterDigest, BackboneDigest, BackboneSlug } from '../../shared/ids.ts'

/** The training that a job does. It is fixed when the job is created. */
export const JobSpec = z.object({
  /** The name that the client used. */
  model: z.string(),
  backbone: z.object({ slug: BackboneSlug, digest: BackboneDigest }),
  /** The adapter to go on from; null for a new one. */
  from: AdapterDigest.nullable(),
  trainingFile: FileId,
  validationFile: FileId.nullable(),
  suffix: z.string().nullable(),
  seed: z.int(),
  hyperparameters: Hyperparameters,
  metadata: z.record(z.string(), z.string()).nullable(),
  deployIfWorse: z.boolean(),
  estimate: TrainingEstimate.nullable(),
})
export type JobSpec = z.infer<typeof JobSpec>
