import type { Backbone } from '../../model/backbone/backbone-folder.ts'
import type { LoadedAdapter } from '../../model/runtime/backend.ts'
import { createBackend } from '../../model/runtime/create-backend.ts'
import type { OnnxBackend } from '../../model/runtime/onnx-backend.ts'
import { type PrefillWeights, usualPrefillWeights } from '../../model/runtime/prefill-weights.ts'
import { maxWindow } from '../../shared/adapter-file.ts'
import type { Example } from '../data/example.ts'
import { type Measurements, type MeasureOptions, type MeasureProgress, measure } from './measure.ts'
import { type MetricName, type Metrics, measuredParts, metricsOf } from './metrics.ts'

/** Sequences that answer at once, as a node has by default. */
const maxBatch = 16
/** Most prompt rows that stand in front of a prompt beside the adapter's window. */
const spareRows = 8

/** A backbone as a node serves it, with room for the longest of these examples in every place of the batch. */
export async function openEvaluationBackend(
  { folder, manifest }: Backbone,
  of: {
    readonly examples: readonly Example[]
    readonly maxTokens: number
    readonly promptRows: number
    /** One per core when absent. */
    readonly threads?: number | undefined
    /** As a node on this machine reads prompts when absent. */
    readonly prefillWeights?: PrefillWeights | undefined
  },
): Promise<OnnxBackend> {
  const longest = of.examples.reduce(
    (most, { instruction, response }) =>
      Math.max(most, instruction.length + Math.max(response.length, of.maxTokens)),
    0,
  )
  const rows = longest + of.promptRows + spareRows
  return createBackend({
    folder,
    manifest,
    device: 'cpu',
    threads: of.threads,
    prefillWeights: of.prefillWeights ?? (await usualPrefillWeights(manifest)),
    limits: { contextLength: rows, chunkTokens: maxWindow, maxBatch, cacheRows: rows * maxBatch },
  })
}

/** One of the models that are compared: the untuned backbone, or an adapter on it. */
export interface Candidate {
  readonly name: string
  readonly adapter: LoadedAdapter | undefined
}

export interface Evaluated {
  readonly name: string
  readonly measurements: Measurements
  readonly metrics: Metrics
  readonly seconds: number
}

/** Measures the candidates one after the other on the same examples. */
export async function evaluate(
  candidates: readonly Candidate[],
  {
    seed,
    metrics,
    onProgress,
    ...options
  }: Omit<MeasureOptions, 'parts'> & {
    readonly metrics: readonly MetricName[]
    /** The seed of the bootstrap. */
    readonly seed: number
    readonly onProgress?: ((progress: MeasureProgress & { readonly name: string }) => void) | undefined
  },
): Promise<readonly Evaluated[]> {
  const parts = new Set(metrics.map((metric) => measuredParts[metric]))
  const results: Evaluated[] = []
  for (const { name, adapter } of candidates) {
    const start = performance.now()
    const measurements = await measure(
      { ...options, parts },
      {
        adapter,
        onProgress: (progress) => onProgress?.({ ...progress, name }),
      },
    )
    const seconds = (performance.now() - start) / 1000
    const all = metricsOf(measurements, { seed })
    const asked = Object.fromEntries(metrics.flatMap((name) => (all[name] ? [[name, all[name]]] : [])))
    results.push({ name, measurements, metrics: asked, seconds })
  }
  return results
}
