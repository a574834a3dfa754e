import { z } from 'zod'
import type { ModelConfig } from '../../shared/backbone.ts'
import type { TensorName } from './tensor-source.ts'

/** A layer's tensors, in reading order. */
export const LayerTensor = z.enum([
  'attn_norm',
  'q',
  'k',
  'v',
  'q_bias',
  'k_bias',
  'v_bias',
  'q_norm',
  'k_norm',
  'o',
  'o_bias',
  'attn_post_norm',
  'mlp_norm',
  'gate',
  'up',
  'gate_bias',
  'up_bias',
  'down',
  'down_bias',
  'mlp_post_norm',
])
export type LayerTensor = z.infer<typeof LayerTensor>

/** The shape of each; undefined for one that a decoder with this config does not have. */
const shapes: Readonly<Record<LayerTensor, (config: ModelConfig) => readonly number[] | undefined>> = {
  attn_norm: ({ d, norms }) => (norms === 'after' ? undefined : [d]),
  q: ({ heads, headDim, d }) => [heads * headDim, d],
  k: ({ kvHeads, headDim, d }) => [kvHeads * headDim, d],
  v: ({ kvHeads, headDim, d }) => [kvHeads * headDim, d],
  q_bias: ({ biases, heads, headDim }) => (biases?.includes('qkv') ? [heads * headDim] : undefined),
  k_bias: ({ biases, kvHeads, headDim }) => (biases?.includes('qkv') ? [kvHeads * headDim] : undefined),
  v_bias: ({ biases, kvHeads, headDim }) => (biases?.includes('qkv') ? [kvHeads * headDim] : undefined),
  q_norm: ({ qkNorms, heads, headDim }) => qkNorms && [qkNorms === 'all-heads' ? heads * headDim : headDim],
  k_norm: ({ qkNorms, kvHeads, headDim }) =>
    qkNorms && [qkNorms === 'all-heads' ? kvHeads * headDim : headDim],
  o: ({ heads, headDim, d }) => [d, heads * headDim],
  o_bias: ({ biases, d }) => (biases?.includes('o') ? [d] : undefined),
  attn_post_norm: ({ norms, d }) => norms && [d],
  mlp_norm: ({ d, norms }) => (norms === 'after' ? undefined : [d]),
  gate: ({ ffn, d }) => [ffn, d],
  up: ({ ffn, d }) => [ffn, d],
  gate_bias: ({ biases, ffn }) => (biases?.includes('gate_up') ? [ffn] : undefined),
  up_bias: ({ biases, ffn }) => (biases?.includes('gate_up') ? [ffn] : undefined),
  down: ({ ffn, d }) => [d, ffn],
  down_bias: ({ biases, d }) => (biases?.includes('down') ? [d] : undefined),
  mlp_post_norm: ({ norms, d }) => norms && [d],
}

/** Name and shape of every tensor of a decoder with this config, in reading order. */
export function decoderTensors(config: ModelConfig): ReadonlyMap<TensorName, readonly number[]> {
  const found = new Map<TensorName, readonly number[]>([['embedding', [config.vocab, config.d]]])
  for (let layer = 0; layer < config.layers; layer++)
    for (const name of LayerTensor.options) {
      const shape = shapes[name](config)
      if (shape !== undefined) found.set(`layers.${layer}.${name}`, shape)
    }
  found.set('norm', [config.d])
  if (!config.tiedHead) found.set('head', [config.vocab, config.d])
  return found
}
