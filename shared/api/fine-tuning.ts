import { z } from 'zod'
import { AdapterDigest } from '../ids.ts'
import { FileId, TrainingEstimate } from './files.ts'
import { toOneBeyond } from './long-input.ts'
import { Page, pageQuery } from './paging.ts'

/** `/v1/fine_tuning/jobs`, as OpenAI has it. Times are seconds since 1970. */

export const JobId = z
  .string()
  .regex(/^ftjob-[0-9a-f]{24}$/, 'a job id is ftjob- and 24 hex digits')
  .brand('JobId')
export type JobId = z.infer<typeof JobId>

export const JobStatus = z.enum([
  'validating_files',
  'queued',
  'running',
  'paused',
  'succeeded',
  'failed',
  'cancelled',
])
export type JobStatus = z.infer<typeof JobStatus>

const auto = z.literal('auto')
const wholeOrAuto = (most: number) =>
  z.union([auto, z.int().min(1).max(most)], { error: `must be auto or a whole number from 1 to ${most}` })

export const Hyperparameters = z.strictObject({
  n_epochs: wholeOrAuto(50).default('auto'),
  batch_size: wholeOrAuto(256).default('auto'),
  learning_rate_multiplier: z
    .union([auto, z.number().min(0.02).max(10)], { error: 'must be auto or a number from 0.02 to 10' })
    .default('auto'),
  /** Where a new adapter's rows stand; beyond OpenAI's. */
  placement: z
    .enum(['auto', 'late', 'turn', 'after-first'], { error: 'must be auto, late, turn or after-first' })
    .default('auto'),
})
export type Hyperparameters = z.infer<typeof Hyperparameters>

const supervisedOnly = 'must be supervised; dpo and reinforcement are not supported'

const Method = z.strictObject({
  type: z.literal('supervised', { error: supervisedOnly }),
  supervised: z.strictObject({ hyperparameters: Hyperparameters.prefault({}) }).prefault({}),
})

const Metadata = z
  .record(z.string().max(64), z.string().max(512))
  .refine((metadata) => Object.keys(metadata).length <= 16, { error: 'has more than 16 entries' })

/** `POST /v1/fine_tuning/jobs`. */
export const CreateJobRequest = z
  .strictObject({
    /** A backbone, or one of the tenant's aliases to go on from. */
    model: z.string().min(1).max(64),
    training_file: FileId,
    validation_file: FileId.nullish(),
    suffix: z
      .string()
      .regex(/^[a-z0-9](?:[a-z0-9-]{0,16}[a-z0-9])?$/, 'has 1 to 18 of a-z, 0-9 and inner hyphens')
      .nullish(),
    seed: z.int().min(0).max(2_147_483_647).nullish(),
    method: Method.optional(),
    /** OpenAI's older spelling of `method.supervised.hyperparameters`. */
    hyperparameters: Hyperparameters.optional(),
    metadata: toOneBeyond(16, Metadata).nullish(),
    integrations: toOneBeyond(0, z.array(z.never('are not supported'))).nullish(),
    /** Points the alias even where the tuned model is worse than the untuned one. */
    deploy_if_worse: z.boolean().default(false),
  })
  .refine((request) => request.method === undefined || request.hyperparameters === undefined, {
    path: ['hyperparameters'],
    error: 'stands beside method; give hyperparameters within method.supervised only',
  })
export type CreateJobRequest = z.infer<typeof CreateJobRequest>

/** How the tuned model compares with the untuned one on the validation examples. */
export const JobEvaluation = z.object({
  untuned_loss: z.number().nullable(),
  tuned_loss: z.number().nullable(),
  /** Share of the first validation examples that each answers as expected, up to white space around it. */
  accuracy: z.object({ examples: z.int(), untuned: z.number(), tuned: z.number() }).nullable().optional(),
  /** Validation prompts answered by both, side by side. */
  samples: z.array(
    z.object({ prompt: z.string(), expected: z.string(), untuned: z.string(), tuned: z.string() }),
  ),
  /** Why there is no accuracy and no sample, where the trained model exists and answering failed. */
  answers_error: z.string().max(2_000).nullable().optional(),
})
export type JobEvaluation = z.infer<typeof JobEvaluation>

export const Job = z.object({
  id: JobId,
  object: z.literal('fine_tuning.job'),
  created_at: z.int(),
  finished_at: z.int().nullable(),
  estimated_finish: z.int().nullable(),
  status: JobStatus,
  model: z.string(),
  /** The alias of the result; null until the job has succeeded, and where it points none. */
  fine_tuned_model: z.string().nullable(),
  organization_id: z.string(),
  training_file: FileId,
  validation_file: FileId.nullable(),
  result_files: z.array(FileId),
  seed: z.int(),
  trained_tokens: z.int().nullable(),
  hyperparameters: Hyperparameters,
  method: Method,
  metadata: Metadata.nullable(),
  integrations: z.null(),
  user_provided_suffix: z.string().nullable(),
  error: z.object({ code: z.string(), message: z.string(), param: z.string().nullable() }).nullable(),
  /** Digest of the trained adapter. */
  adapter: AdapterDigest.nullable(),
  evaluation: JobEvaluation.nullable(),
  /** The estimate made when the job was created; null where the file's tokens were not counted. */
  estimate: TrainingEstimate.nullable(),
  /** Steps made and planned; null before the trainer has planned them. */
  progress: z.object({ step: z.int(), steps: z.int() }).nullable(),
})
export type Job = z.infer<typeof Job>

export const JobListQuery = z.strictObject(pageQuery({ usual: 20, most: 100 }))
export const JobList = Page(Job)

export const JobEvent = z.object({
  id: z.string(),
  object: z.literal('fine_tuning.job.event'),
  created_at: z.int(),
  level: z.enum(['info', 'warn', 'error']),
  message: z.string(),
  type: z.enum(['message', 'metrics']),
  /** The values of an event of type `metrics`: `step`, `train_loss`, `valid_loss`, … */
  data: z.record(z.string(), z.union([z.number(), z.string(), z.null()])),
})
export type JobEvent = z.infer<typeof JobEvent>

/** `GET …/events`: newest first; with `stream=true` server-sent events from the oldest on, until the job has ended. */
export const JobEventQuery = z.strictObject({
  ...pageQuery({ usual: 20, most: 100 }),
  stream: z.enum(['true', 'false']).optional(),
})
export const JobEventList = Page(JobEvent)

const JobCheckpoint = z.object({
  id: z.string(),
  object: z.literal('fine_tuning.job.checkpoint'),
  created_at: z.int(),
  fine_tuning_job_id: JobId,
  step_number: z.int(),
  metrics: z.object({ step: z.int(), valid_loss: z.number().nullable() }),
  /** OpenAI's; a checkpoint here can be gone on from, not asked. */
  fine_tuned_model_checkpoint: z.string(),
})
export const JobCheckpointList = Page(JobCheckpoint)
