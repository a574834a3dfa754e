import type { Architecture } from './architecture.ts'
import { ggufLayer, ggufPostNorms, ggufQkNorms, ggufSizes } from './gguf-settings.ts'
import { llamaLayer, qkNormNames, statedBiases, statedSizes } from './huggingface-settings.ts'

const { attn_norm: _, mlp_norm: __, ...blocks } = llamaLayer
const { attn_norm: ___, mlp_norm: ____, ...ggufBlocks } = ggufLayer

/** OLMo 2: norms behind the blocks rather than before them, and over all heads' q and k. */
export const olmo2: Architecture = {
  name: 'OLMo 2',
  huggingFace: {
    modelTypes: ['olmo2'],
    config: (settings) => ({
      ...statedSizes(settings, { rmsEps: 1e-5 }),
      ...statedBiases(settings),
      norms: 'after',
      qkNorms: 'all-heads',
    }),
    tiedByDefault: false,
    layer: {
      ...blocks,
      ...qkNormNames,
      attn_post_norm: 'post_attention_layernorm',
      mlp_post_norm: 'post_feedforward_layernorm',
    },
  },
  gguf: {
    architecture: 'olmo2',
    config: (metadata, tensors) => ({
      ...ggufSizes(metadata, tensors),
      norms: 'after',
      qkNorms: 'all-heads',
    }),
    layer: { ...ggufBlocks, ...ggufQkNorms, ...ggufPostNorms },
    interleaved: false,
  },
}
