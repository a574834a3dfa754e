import { defaultSteps } from '../../shared/training/job-size.ts'
import { heldOutCount } from '../../training/held-out.ts'
import { defaultEvaluateEvery, TrainSettings } from '../../training/settings.ts'
import type { TrainCommandOptions } from './options.ts'

/** Steps that read each of the examples once which generators learn from. */
export function stepsPerEpoch(
  examples: number,
  { accumulate, batch, ...apart }: Pick<TrainSettings, 'accumulate' | 'batch' | 'heldOut' | 'rational'>,
): number {
  return Math.max(1, Math.ceil((examples - heldOutCount(examples, apart)) / (batch * accumulate)))
}

/** The settings of a training from the command's options and the number of examples to train on. */
export function trainSettings(options: TrainCommandOptions, examples: number): TrainSettings {
  const { accumulate = 1, batch = 16, clip, decay, heldOut = 0.2, optimizer, seed, warmup } = options
  const { rational = 'joint' } = options
  const perEpoch = stepsPerEpoch(examples, { accumulate, batch, heldOut, rational })
  const steps =
    options.steps ?? (options.epochs === undefined ? defaultSteps(perEpoch) : options.epochs * perEpoch)
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
      heldOut,
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
