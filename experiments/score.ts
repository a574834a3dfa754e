import { servingDecoder } from '../cli/tokenizer/serving-decoder.ts'
import type { Backbone } from '../model/backbone/backbone-folder.ts'
import type { AdapterFile } from '../shared/adapter-file.ts'
import { openEvaluationBackend } from '../training/evaluation/evaluate.ts'
import { type MeasuredPart, measure } from '../training/evaluation/measure.ts'
import { metricsOf } from '../training/evaluation/metrics.ts'
import type { PreparedTask } from './prepare.ts'
import type { Result } from './result.ts'

/** Longest greedy answer. */
const maxTokens = 96
const seed = 0

/** Measures an adapter, a stack of late ones, or the untuned backbone, on a task through the backend that serves it. */
export async function score(
  { test, choices }: PreparedTask,
  { backbone, adapters }: { backbone: Backbone; adapters: readonly AdapterFile[] },
): Promise<Pick<Result, 'metrics' | 'evaluateSeconds'>> {
  const examples = [...test.likelihood, ...test.labels, ...test.answers]
  const promptRows = adapters.reduce((sum, { metadata }) => sum + metadata.l_sp, 0)
  const backend = await openEvaluationBackend(backbone, { examples, maxTokens, promptRows })
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
    const measured = (part: MeasuredPart) =>
      measure({ ...options, examples: test[part], parts: new Set([part]) }, { adapter: loaded })
    const { likelihoods } = await measured('likelihood')
    const { labels } = await measured('labels')
    const { answers } = await measured('answers')
    return {
      metrics: metricsOf({ likelihoods, labels, answers }, { seed }),
      evaluateSeconds: (performance.now() - start) / 1000,
    }
  } finally {
    await backend.close()
  }
}
