import { QuartetError } from '../../shared/errors.ts'
import { runsOf } from '../batches.ts'
import type { TrainSettings } from '../settings.ts'
import type { Example, LossModel, Parameters } from './loss-model.ts'

interface RunLimits {
  readonly settings: Pick<TrainSettings, 'batch' | 'batchTokens'>
  /** Called before each run of the model; what it throws ends the work. */
  readonly beforeRun?: () => void
}

/** Mean loss per response token of a batch and its gradients, in as many runs of the model as it takes. */
export async function meanGradients(
  model: LossModel,
  {
    batch,
    parameters,
    settings,
    beforeRun,
  }: RunLimits & { readonly batch: readonly Example[]; readonly parameters: Parameters },
): Promise<{ loss: number; gradients: Parameters }> {
  const sums = new Map<string, Float32Array>()
  let lossSum = 0
  let tokens = 0
  for (const run of runsOf(batch, { examples: settings.batch, tokens: settings.batchTokens })) {
    beforeRun?.()
    const part = await model.differentiate(run, parameters)
    lossSum += part.lossSum
    tokens += part.tokens
    for (const [name, gradient] of part.gradients) add(sums, { name, gradient })
  }
  scale(sums, 1 / tokens)
  return { loss: lossSum / tokens, gradients: sums }
}

/** Mean loss per response token; of the untuned backbone when `parameters` is undefined. */
export async function meanLoss(
  model: LossModel,
  {
    examples,
    parameters,
    settings,
    beforeRun,
  }: RunLimits & { readonly examples: readonly Example[]; readonly parameters: Parameters | undefined },
): Promise<number> {
  let sum = 0
  for (const run of runsOf(examples, { examples: settings.batch, tokens: settings.batchTokens })) {
    beforeRun?.()
    for (const loss of await model.score(run, parameters)) sum += loss
  }
  const tokens = examples.reduce((count, { response }) => count + response.length, 0)
  if (tokens === 0) throw new QuartetError('training_data_invalid', 'no example has a response')
  return sum / tokens
}

function add(
  sums: Map<string, Float32Array>,
  { name, gradient }: { name: string; gradient: Float32Array },
): void {
  const sum = sums.get(name)
  if (sum === undefined) sums.set(name, gradient.slice())
  else for (let i = 0; i < sum.length; i++) sum[i] = (sum[i] ?? 0) + (gradient[i] ?? 0)
}

/** Multiplies every value, in place. */
export function scale(tensors: Parameters, factor: number): void {
  for (const values of tensors.values())
    for (let i = 0; i < values.length; i++) values[i] = (values[i] ?? 0) * factor
}
