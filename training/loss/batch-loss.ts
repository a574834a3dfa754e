import { QuartetError } from '../../shared/errors.ts'
import type { Example } from '../data/example.ts'
import { runsOf, type Stretch } from '../data/runs.ts'
import type { LossModel, Parameters } from './loss-model.ts'

interface BatchOptions {
  /** Most examples of one run of the model. */
  readonly batch: number
  /** Most tokens of one run, padding and prompt rows included. */
  readonly batchTokens: number
  /** Called before each run of the model. If it throws, the work ends. */
  readonly beforeRun?: () => void
}

/** Mean loss per response token of a batch and its gradients, in as many runs of the model as it takes. */
export async function meanGradients(
  model: LossModel,
  {
    examples,
    parameters,
    ...options
  }: BatchOptions & { readonly examples: readonly Example[]; readonly parameters: Parameters },
): Promise<{ loss: number; gradients: Parameters }> {
  const sums = new Map<string, Float32Array>()
  let lossSum = 0
  let tokens = 0
  for (const run of runs(model, examples, options)) {
    const part = await model.differentiate(run, parameters)
    lossSum += part.lossSum
    tokens += part.tokens
    for (const [name, gradient] of part.gradients) add(sums, { name, gradient })
  }
  scale(sums, 1 / tokens)
  return { loss: lossSum / tokens, gradients: sums }
}

interface Scoring extends BatchOptions {
  readonly examples: readonly Example[]
  /** Undefined for the untuned backbone. */
  readonly parameters: Parameters | undefined
}

/** −log p of each example's response, the sum over its tokens. */
export async function responseLosses(
  model: LossModel,
  { examples, parameters, ...options }: Scoring,
): Promise<Float64Array> {
  const losses = new Float64Array(examples.length)
  for (const run of runs(model, examples, options)) {
    const parts = await model.score(run, parameters)
    for (const [at, { index }] of run.entries())
      losses[index] = (losses[index] ?? 0) + (parts[at] ?? Number.NaN)
  }
  return losses
}

/** Mean loss per response token. */
export async function meanLoss(model: LossModel, scoring: Scoring): Promise<number> {
  const tokens = scoring.examples.reduce((count, { response }) => count + response.length, 0)
  if (tokens === 0) throw new QuartetError('training_data_invalid', 'no example has a response')
  const losses = await responseLosses(model, scoring)
  return losses.reduce((sum, loss) => sum + loss, 0) / tokens
}

function* runs(
  model: LossModel,
  examples: readonly Example[],
  { batch, batchTokens, beforeRun }: BatchOptions,
): Generator<ReturnType<typeof runsOf>[number]> {
  const limits = {
    examples: batch,
    rows: batchTokens,
    contextLength: model.contextLength,
    rowsOf: (run: readonly Stretch[]) => model.rowsOf(run),
  }
  for (const run of runsOf(examples, limits)) {
    beforeRun?.()
    yield run
  }
}

/** Adds in place: a tensor of its own is kept for each name. */
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
