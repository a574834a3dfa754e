import { z } from 'zod'

const count = z.int().min(1)
const fraction = z.number().min(0).max(1)

/** Step sizes by what a tensor is. */
export const LearningRates = z.strictObject({
  /** `down`, `query`, `up` and `table`. */
  generator: z.number().gt(0).max(1).default(3e-3),
  /** Own anchor rows; without weight decay. */
  anchor: z.number().gt(0).max(1).default(3e-2),
  static: z.number().gt(0).max(1).default(1e-2),
  /** Coefficients of the rational activation; without weight decay. */
  rational: z.number().gt(0).max(1).default(1e-3),
})
export type LearningRates = z.infer<typeof LearningRates>

/**
 * How an adapter is trained. The defaults are those of the reference, but for the optimiser, a generator's rate and start, and
 * the anchors' rate, which dev data chose (docs/training.md).
 */
export const TrainSettings = z.strictObject({
  seed: z.int().min(0).max(0x7fffffff).default(0),
  /** Optimiser steps in all. */
  steps: count.max(10_000_000),
  /** Examples of one run of the model. */
  batch: count.max(4096).default(16),
  /** Runs whose gradients make one step: a step has `batch · accumulate` examples. */
  accumulate: count.max(4096).default(1),
  /** Tokens of one run, padding and prompt rows included: batches of long examples are run in parts. */
  batchTokens: count.max(1_000_000).default(1024),
  rates: LearningRates.default(LearningRates.parse({})),
  /** What trains a generator's projections, `down` and `up`; AdamW trains all else. */
  optimizer: z.enum(['muon', 'adamw']).default('muon'),
  /** Deviation at the start of what a generator makes of an instruction's tokens, z = x · W_down. */
  downDeviation: z.number().gt(0).max(100).default(4),
  /** Decoupled weight decay. */
  decay: z.number().min(0).max(1).default(0.01),
  /** Share of the steps in which the rates rise from zero. */
  warmup: fraction.default(0.06),
  /** Largest global norm of a step's gradient. */
  clip: z.number().gt(0).default(1),
  /** Steps between two measurements of the dev loss, each followed by a checkpoint. */
  evaluateEvery: count.max(10_000_000),
  /** Measurements without a better dev loss after which training stops; null never stops early. */
  patience: count.max(10_000).nullable().default(5),
  /**
   * How rational coefficients are trained: with everything else, or in alternation with it on `heldOut` of the
   * examples, which nothing else is trained on (bi-level).
   */
  rational: z.enum(['joint', 'bilevel']).default('joint'),
  heldOut: fraction.default(0.2),
})
export type TrainSettings = z.infer<typeof TrainSettings>

/** Ten measurements of the dev loss in all, at least ten steps apart. */
export function defaultEvaluateEvery(steps: number): number {
  return Math.max(Math.min(10, steps), Math.ceil(steps / 10))
}

/** Share of the full rate at a step counted from 0: a linear rise over the warm-up, then a linear fall to zero. */
export function rateFactor(step: number, { steps, warmup }: Pick<TrainSettings, 'steps' | 'warmup'>): number {
  const rise = Math.ceil(steps * warmup)
  return step < rise ? (step + 1) / rise : (steps - step) / Math.max(1, steps - rise)
}
