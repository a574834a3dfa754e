import { z } from 'zod'
import { FileId, TrainingEstimate } from '../../shared/api/files.ts'
import { Hyperparameters } from '../../shared/api/fine-tuning.ts'
import { AdapterDigest, BackboneDigest, BackboneSlug } from '../../shared/ids.ts'
import { type Outcome, ok, refuse } from '../directory/outcome.ts'
import type { FileTable } from './file-table.ts'

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

/** Refuses a job whose files the tenant does not have, or has for another purpose. */
export function checkFiles(
  { trainingFile, validationFile }: Pick<JobSpec, 'trainingFile' | 'validationFile'>,
  files: Pick<FileTable, 'find'>,
): Outcome<null> {
  for (const [param, file] of [
    ['training_file', trainingFile],
    ['validation_file', validationFile],
  ] as const) {
    if (file === null) continue
    const found = files.find(file)
    if (found === undefined)
      return refuse('not_found', `${param}: this tenant has no file ${file}`, { param })
    if (found.purpose !== 'fine-tune')
      return refuse(
        'invalid_request',
        `${param}: ${file} was uploaded for ${found.purpose}, not for fine-tune`,
        { param },
      )
  }
  return ok(null)
}
