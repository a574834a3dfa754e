import { defaultSteps } from '../../shared/training/job-size.ts'
import { defaultEvaluateEvery, TrainSettings } from '../../training/settings.ts'
import type { TrainCommandOptions } from './options.ts'

/** The settings of a training from the command's options and the number of examples that generators learn from. */
export function trainSettings(options: TrainCommandOptions, examples: number): TrainSettings {
  const { accumulate = 1, batch = 16, clip, decay, optimizer, rational, seed, warmup } = options
  const share = rational === 'bilevel' ? 1 - (options.heldOut ?? 0.2) : 1
  const stepsPerEpoch = Math.max(1, Math.ceil((examples * share) / (batch * accumulate)))
  const steps =
    options.steps ??
    (options.epochs === undefined ? defaultSteps(stepsPerEpoch) : options.epochs * stepsPerEpoch)
  const patience = options.patience === 0 ? null : options.patience
  return TrainSettings.parse(
    given({
      seed,
      steps,
      batch,
      accumulate,
      clip,
      decay,
      optimizer,
      rational,
      warmup,
      patience,
      batchTokens: options.batchTokens,
      downDeviation: options.downDeviation,
      heldOut: options.heldOut,
      evaluateEvery: options.evalEvery ?? defaultEvaluateEvery(steps),
      rates: given({
        generator: options.rate,
        anchor: options.anchorRate,
        static: options.staticRate,
        rational: options.rationalRate,
      }),
    }),
  )
}

/** The settings without the keys that have no value, which take their defaults. */
function given(values: Readonly<Record<string, unknown>>): Record<string, unknown> {
  return Object.fromEntries(Object.entries(values).filter(([, value]) => value !== undefined))
}
