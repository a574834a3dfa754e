import { z } from 'zod'
import { JobId } from '../api/fine-tuning.ts'
import { BackboneDigest, BackboneSlug, TenantId } from '../ids.ts'
import { TrainerId } from './trainer-protocol.ts'

/** `GET /admin/v1/training`: the trainers, and the jobs of all tenants that wait or are trained. */

const backbone = {
  digest: BackboneDigest,
  /** Its name; null for one that is not served here any more. */
  slug: BackboneSlug.nullable(),
}

const TrainerSummary = z.object({
  id: TrainerId,
  backbone: z.object(backbone),
  /** Milliseconds since it asked for work or reported. */
  ageMs: z.number().min(0),
})

const QueuedJob = z.object({
  tenant: TenantId,
  job: JobId,
  backbone: z.object(backbone),
  /** Milliseconds since it came into the queue. */
  waitedMs: z.number().min(0),
  /** Who trains it; null while it waits. */
  trainer: TrainerId.nullable(),
  /** Steps made and planned; null before the trainer has planned them. */
  progress: z.object({ step: z.int(), steps: z.int() }).nullable(),
})

export type QueuedJob = z.infer<typeof QueuedJob>

export const TrainingOverview = z.object({
  /** Those heard of in the last ten minutes, by id. */
  trainers: z.array(TrainerSummary),
  /** The oldest first; at most `maxQueuedJobs`. */
  queue: z.array(QueuedJob),
  /** Tokens that a trainer of each backbone trains in a second, as last reported. */
  speeds: z.array(z.object({ backbone: z.object(backbone), tokensPerSecond: z.number() })),
})
export type TrainingOverview = z.infer<typeof TrainingOverview>

export const maxQueuedJobs = 200
