import type { Hyperparameters } from '../api/fine-tuning.ts'

/** How large a training is: what `auto` and a number of epochs come to. Trainers and the edge's estimates agree on it. */

/** Steps that a small file is repeated for when nothing else is said, and how often it is repeated at most. */
const leastSteps = 100
const mostEpochs = 20

/**
 * Steps when nothing is said: one epoch, or 100 where an epoch has fewer, the last epoch cut short; a file is read 20
 * times at most. More examples never give fewer steps.
 */
export function defaultSteps(stepsPerEpoch: number): number {
  return Math.max(stepsPerEpoch, Math.min(leastSteps, mostEpochs * stepsPerEpoch))
}

/** Share of the examples that a job sets apart to measure on where it has no validation file. */
export const devShare = 0.1
const mostDevExamples = 200

/** How many of the examples are set apart to measure on: never more than half of two or more. */
export const setApart = (examples: number, share: number): number =>
  Math.min(mostDevExamples, Math.max(1, Math.min(Math.floor(examples / 2), Math.round(examples * share))))

const defaultBatch = 16

export interface JobSize {
  /** Examples of one step. */
  readonly batch: number
  readonly steps: number
  readonly stepsPerEpoch: number
}

/** `examples`: those that are trained on. */
export function jobSize(
  examples: number,
  { batch_size: batch, n_epochs: epochs }: Pick<Hyperparameters, 'batch_size' | 'n_epochs'>,
): JobSize {
  const size = batch === 'auto' ? defaultBatch : batch
  const stepsPerEpoch = Math.max(1, Math.ceil(examples / size))
  const steps = epochs === 'auto' ? defaultSteps(stepsPerEpoch) : epochs * stepsPerEpoch
  return { batch: size, steps, stepsPerEpoch }
}

/** Tokens that all steps together read. `perEpoch`: those of the examples that are trained on. */
export const tokensOfJob = (perEpoch: number, { steps, stepsPerEpoch }: JobSize): number =>
  Math.ceil((perEpoch * steps) / stepsPerEpoch)
