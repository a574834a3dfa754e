import { z } from 'zod'
import { ModelConfig } from '../../shared/backbone.ts'
import { QuartetError } from '../../shared/errors.ts'
import type { TensorName } from './tensor-source.ts'

/** Largest sizes that a model file may claim, well above any model this serves: checked before anything is allocated. */
const limits = [
  ['layers', 256],
  ['d', 16_384],
  ['heads', 512],
  ['kvHeads', 512],
  ['headDim', 1024],
  ['ffn', 131_072],
  ['vocab', 1_000_000],
  ['contextLength', 16_777_216],
] as const

/** Checks sizes that come from a file. `file` is named in the `backbone_invalid` it throws. */
export function checkedConfig(raw: Record<keyof ModelConfig, unknown>, file: string): ModelConfig {
  const parsed = ModelConfig.safeParse(raw)
  if (!parsed.success) throw invalidBackbone(file, z.prettifyError(parsed.error).replaceAll('\n', ' '))
  const config = parsed.data
  for (const [key, limit] of limits) {
    const value = config[key]
    if (value > limit) throw invalidBackbone(file, `${key} is ${value}; at most ${limit} is supported`)
  }
  if (config.heads % config.kvHeads !== 0)
    throw invalidBackbone(
      file,
      `${config.heads} heads cannot be shared by ${config.kvHeads} key-value heads evenly`,
    )
  if (config.headDim % 2 !== 0)
    throw invalidBackbone(
      file,
      `head size ${config.headDim} is odd; rotary position embedding needs an even one`,
    )
  return config
}

/** A model file that cannot be used, and why. */
export function invalidBackbone(file: string, why: string, cause?: unknown): QuartetError {
  return new QuartetError('backbone_invalid', `${file}: ${why}`, { cause })
}

/** A layer's tensors, in reading order. */
export const LayerTensor = z.enum(['attn_norm', 'q', 'k', 'v', 'o', 'mlp_norm', 'gate', 'up', 'down'])
export type LayerTensor = z.infer<typeof LayerTensor>

const layerTensors: Readonly<Record<LayerTensor, (config: ModelConfig) => readonly number[]>> = {
  attn_norm: ({ d }) => [d],
  q: ({ heads, headDim, d }) => [heads * headDim, d],
  k: ({ kvHeads, headDim, d }) => [kvHeads * headDim, d],
  v: ({ kvHeads, headDim, d }) => [kvHeads * headDim, d],
  o: ({ heads, headDim, d }) => [d, heads * headDim],
  mlp_norm: ({ d }) => [d],
  gate: ({ ffn, d }) => [ffn, d],
  up: ({ ffn, d }) => [ffn, d],
  down: ({ ffn, d }) => [d, ffn],
}

/** Name and shape of every tensor of a decoder with this config, in reading order. */
export function decoderTensors(config: ModelConfig): ReadonlyMap<TensorName, readonly number[]> {
  const shapes = new Map<TensorName, readonly number[]>([['embedding', [config.vocab, config.d]]])
  for (let layer = 0; layer < config.layers; layer++)
    for (const name of LayerTensor.options) shapes.set(`layers.${layer}.${name}`, layerTensors[name](config))
  shapes.set('norm', [config.d])
  if (!config.tiedHead) shapes.set('head', [config.vocab, config.d])
  return shapes
}
