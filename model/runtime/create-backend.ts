import type { BackboneManifest } from '../../shared/backbone.ts'
import { QuartetError } from '../../shared/errors.ts'
import { hostNodes } from '../graph/prompt-inputs.ts'
import { AdapterLoader } from './adapter-tensors.ts'
import { loadAnchors } from './anchors.ts'
import type { BackendLimits } from './backend.ts'
import { longestIn } from './cache-budget.ts'
import { type CacheLayout, checkCacheType, checkHeads, layoutFor, pagedType } from './cache-layout.ts'
import type { CacheType } from './cache-type.ts'
import { DecodeGraph } from './decode-graph.ts'
import { OnnxBackend } from './onnx-backend.ts'
import { cacheGraphFile, openKvCache } from './open-kv-cache.ts'
import { prefillChange } from './prefill-graph.ts'
import type { PrefillWeights } from './prefill-weights.ts'
import { Runner } from './runner.ts'
import type { Device } from './session.ts'

export interface BackendOptions {
  /** A backbone's folder and its manifest. */
  readonly folder: string
  readonly manifest: BackboneManifest
  readonly device: Device
  /** Threads that share one operator's work; one per core when absent. */
  readonly threads?: number | undefined
  /** f32 when absent. For any other the graph must have been prepared (`prepareCacheGraph`). */
  readonly cacheType?: CacheType | undefined
  /** The model's own on the device (`layoutFor`) when absent. */
  readonly cacheLayout?: CacheLayout | undefined
  /** Whether tokens are decoded by a graph of their own, which a GPU captures: with a cache in pages, on CUDA unless said. */
  readonly decodeGraph?: boolean | undefined
  /** By which weights prompts are read: those that are stored when absent, and `f32` on the CPU alone. */
  readonly prefillWeights?: PrefillWeights | undefined
  /** Memory of the device for kept rows; none but a little when absent. The host takes what it needs. */
  readonly keptBytes?: number | undefined
  /** `contextLength` is lowered to the backbone's own. */
  readonly limits: Omit<BackendLimits, 'vocab'>
}

/** Loads a backbone. Throws `backbone_invalid` or, when the device does not start, `node_unavailable`. */
export async function createBackend({
  cacheLayout,
  cacheType = 'f32',
  decodeGraph,
  folder,
  keptBytes = 0,
  manifest,
  limits: asked,
  prefillWeights = 'stored',
  ...session
}: BackendOptions): Promise<OnnxBackend> {
  const { config, digest: backbone, weights } = manifest
  const { device } = session
  const layout = cacheLayout ?? layoutFor(config, device)
  if (weights === 'bf16' && device === 'cpu')
    throw new QuartetError(
      'backbone_invalid',
      `${folder} has bf16 weights, which ONNX Runtime multiplies on GPUs alone; run it with --device cuda, or import the model with --weights q8`,
    )
  if (prefillWeights === 'f32' && device !== 'cpu')
    throw new QuartetError(
      'invalid_request',
      `prompts are read by the stored weights on ${device}: leave --prefill-weights f32 out, or use --device cpu`,
      { param: '--prefill-weights' },
    )
  checkHeads(config, device)
  checkCacheType(cacheType, { device, layout })
  const form = { layout, type: cacheType }
  const { vocab } = config
  const anchors = await loadAnchors(folder, config)
  const longest = longestIn(asked.cacheRows, layout)
  const limits = {
    ...asked,
    vocab,
    contextLength: Math.min(asked.contextLength, config.contextLength, longest),
  }
  const adapters = new AdapterLoader({ backbone, config, anchors, chunkTokens: limits.chunkTokens })
  await using failing = new AsyncDisposableStack()
  const runner = await Runner.open(folder, {
    cache: (opened) => openKvCache(opened, { config, device, form, keptBytes, limits }),
    config,
    decode:
      layout === 'pages' && (decodeGraph ?? device === 'cuda')
        ? (initializers) =>
            DecodeGraph.open(folder, {
              config,
              initializers,
              limits,
              type: pagedType(cacheType),
              ...session,
            })
        : undefined,
    graph: cacheGraphFile(form, { config, device }),
    prefill: prefillChange(manifest, prefillWeights),
    cpuNodes: hostNodes(config),
    ...session,
  })
  failing.adopt(runner, (failed) => failed.release())
  const backend = new OnnxBackend({ backbone, config, form, limits, runner, adapters })
  failing.move()
  return backend
}
