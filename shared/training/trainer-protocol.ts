import { z } from 'zod'
import { Hyperparameters, JobEvaluation, JobId } from '../api/fine-tuning.ts'
import { AdapterDigest, BackboneDigest, BackboneSlug, TenantId } from '../ids.ts'

/**
 * The protocol between a trainer and the edge, under `/fleet/v1/training`. Each call carries a trainer's token
 * (trainer-token.ts). A lease names the job and a fence. If two trainers hold the same job's lease, the one with the
 * higher fence has it, and the other one's calls are refused (`conflict`).
 *
 * - `POST claim`: ClaimRequest in, ClaimResponse out.
 * - `GET {tenant}/{job}/training-file`, `…/validation-file`, `…/checkpoint`, `…/adapter`: bytes out.
 * - `POST {tenant}/{job}/report`: TrainerReport in, TrainerOrder out.
 * - `PUT {tenant}/{job}/checkpoint?step=…`: a checkpoint in.
 * - `PUT {tenant}/{job}/adapter`: the trained adapter in.
 * The fence rides in the header `x-quartet-fence`.
 */
export const TrainerId = z
  .string()
  .regex(/^[A-Za-z0-9._-]{1,64}$/, 'a trainer id has 1 to 64 of letters, digits, dot, _ and -')
  .brand('TrainerId')
export type TrainerId = z.infer<typeof TrainerId>

/** How long a lease lives after its last report, where the edge's operator does not say otherwise. */
export const trainerLeaseMs = 60_000
/** How often a trainer reports while its lease lives. */
export const reportsPerLease = 6

export const ClaimRequest = z.strictObject({
  backbone: z.strictObject({ slug: BackboneSlug, digest: BackboneDigest }),
})
export type ClaimRequest = z.infer<typeof ClaimRequest>

export const TrainingWork = z.object({
  tenant: TenantId,
  job: JobId,
  fence: z.int(),
  /** The adapter to go on from; null for a new one. */
  from: AdapterDigest.nullable(),
  hasValidationFile: z.boolean(),
  /** Steps of the last checkpoint; null without one. */
  checkpointStep: z.int().nullable(),
  seed: z.int(),
  hyperparameters: Hyperparameters,
  /** How long the lease lives after each report, in milliseconds. */
  leaseMs: z.int().min(1),
})
export type TrainingWork = z.infer<typeof TrainingWork>

export const ClaimResponse = z.object({ work: TrainingWork.nullable() })
export type ClaimResponse = z.infer<typeof ClaimResponse>

const step = z.int().min(0)

/** A trainer's report on its job. */
export const TrainerReport = z.discriminatedUnion('type', [
  /** The files are read, and the work of training them is known. */
  z.strictObject({
    type: z.literal('planned'),
    steps: step,
    tokens: z.int().min(0),
    examples: z.int().min(0),
    /** Validation examples that are not measured, as their prompts are trained on. */
    validationTrainedOn: z.int().min(0).optional(),
  }),
  z.strictObject({
    type: z.literal('progress'),
    step,
    trainedTokens: z.int().min(0),
    secondsLeft: z.number().min(0).nullable(),
    /** Tokens trained in a second of this trainer's work, measurements included; absent before the first step. */
    tokensPerSecond: z.number().gt(0).optional(),
    metrics: z
      .array(z.strictObject({ step, trainLoss: z.number().optional(), validLoss: z.number().optional() }))
      .max(1_000),
  }),
  z.strictObject({
    type: z.literal('failed'),
    code: z.string().max(64),
    message: z.string().max(2_000),
    param: z.string().max(64).nullable(),
  }),
  z.strictObject({
    type: z.literal('succeeded'),
    adapter: AdapterDigest,
    trainedTokens: z.int().min(0),
    evaluation: JobEvaluation,
  }),
  /** The last checkpoint is of no use, and why: the trainer begins anew. */
  z.strictObject({ type: z.literal('restarted'), reason: z.string().max(2_000) }),
  /** The trainer keeps its last checkpoint, and another one may go on: it stops, or it failed for a reason of its own. */
  z.strictObject({ type: z.literal('released'), why: z.enum(['stopping', 'failed']) }),
])
export type TrainerReport = z.infer<typeof TrainerReport>

/** The order that the trainer follows from now on. */
export const TrainerOrder = z.object({ order: z.enum(['continue', 'pause', 'stop']) })
export type TrainerOrder = z.infer<typeof TrainerOrder>
