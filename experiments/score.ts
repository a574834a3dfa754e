import { servingDecoder } from '../cli/tokenizer/serving-decoder.ts'
import type { AdapterFile } from '../shared/adapter-file.ts'
import type { Example } from '../training/data/example.ts'
import { openEvaluationBackend } from '../training/evaluation/evaluate.ts'
import { type MeasuredPart, type Measurements, measure } from '../training/evaluation/measure.ts'
import { type Metrics, metricsOf } from '../training/evaluation/metrics.ts'
import { responseLosses } from '../training/loss/batch-loss.ts'
import type { LossModel, Parameters } from '../training/loss/loss-model.ts'
import type { PreparedTask } from './prepare.ts'
import type { Result } from './result.ts'
import type { Bench } from './train-variant.ts'

/** Longest greedy answer. */
const maxTokens = 96
const seed = 0

export type Scores = Pick<Result, 'metrics' | 'dev' | 'evaluateSeconds'>

/** Measures an adapter, a stack of late ones, or the untuned backbone, on a task through the backend that serves it. */
export async function score(
  { dev, test, choices }: PreparedTask,
  { adapters, backbone, threads }: Pick<Bench, 'backbone' | 'threads'> & { adapters: readonly AdapterFile[] },
): Promise<Scores> {
  const examples = [...dev, ...test.likelihood, ...test.labels, ...test.answers]
  const promptRows = adapters.reduce((sum, { metadata }) => sum + metadata.l_sp, 0)
  const backend = await openEvaluationBackend(backbone, { examples, maxTokens, promptRows, threads })
  try {
    const start = performance.now()
    const parts = adapters.map((adapter) => backend.loadAdapter(adapter))
    const loaded = parts.length > 1 ? backend.stack(parts) : parts[0]
    const options = {
      backend,
      choices,
      maxTokens,
      stopTokens: backbone.manifest.tokens.eos,
      decode: await servingDecoder(backbone),
    }
    const measured = (of: readonly Example[], ...parts: MeasuredPart[]) =>
      measure({ ...options, examples: of, parts: new Set(parts) }, { adapter: loaded })
    // Prompts that both need are read once.
    const isShared = test.labels === test.likelihood
    const first = isShared
      ? await measured(test.labels, 'likelihood', 'labels')
      : await measured(test.likelihood, 'likelihood')
    const { labels } = isShared ? first : await measured(test.labels, 'labels')
    const { answers } = await measured(test.answers, 'answers')
    return {
      metrics: metricsOf({ likelihoods: first.likelihoods, labels, answers }, { seed }),
      ...devScores(dev, await measured(dev, choices.length > 0 ? 'labels' : 'likelihood')),
      evaluateSeconds: (performance.now() - start) / 1000,
    }
  } finally {
    await backend.close()
  }
}

/** Measures the loss of a layout that is not served, by the graph that trains it. */
export async function scoreByLoss(
  { dev, test }: PreparedTask,
  {
    model,
    parameters,
    ...options
  }: { model: LossModel; parameters: Parameters; batch: number; batchTokens: number },
): Promise<Scores> {
  const start = performance.now()
  const measured = async (examples: readonly Example[]): Promise<Measurements> => {
    const losses = await responseLosses(model, { ...options, examples, parameters })
    const likelihoods = examples.map(({ response }, at) => ({
      logLikelihood: -(losses[at] ?? Number.NaN),
      tokens: response.length,
    }))
    return { likelihoods, labels: [], answers: [] }
  }
  return {
    metrics: metricsOf(await measured(test.likelihood), { seed }),
    ...devScores(dev, await measured(dev)),
    evaluateSeconds: (performance.now() - start) / 1000,
  }
}

function devScores(dev: readonly Example[], measurements: Measurements): { dev?: Result['dev'] } {
  if (dev.length === 0) return {}
  const metrics: Metrics = metricsOf(measurements, { seed })
  return { dev: { examples: dev.length, metrics } }
}
