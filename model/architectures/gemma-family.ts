import type { ModelConfig } from '../../shared/backbone.ts'
import type { LayerNames, StatedConfig } from './architecture.ts'
import { llamaLayer } from './huggingface-settings.ts'
import type { Settings } from './settings.ts'

/** Norms before and behind each block. */
export const gemmaLayer: LayerNames = {
  ...llamaLayer,
  attn_post_norm: 'post_attention_layernorm',
  mlp_norm: 'pre_feedforward_layernorm',
  mlp_post_norm: 'post_feedforward_layernorm',
}

/** The traits that Gemma 2 and 3 have in common, beside their windows. */
export function gemmaTraits(
  { d }: StatedConfig,
  scale: number,
): Pick<ModelConfig, 'norms' | 'activation' | 'embeddingScale' | 'attentionScale'> {
  return {
    norms: 'around',
    activation: 'gelu-tanh',
    embeddingScale: Math.sqrt(d),
    attentionScale: scale,
  }
}

/** Scores are divided by the root of this number in transformers. */
export function statedGemmaScale(settings: Settings): number {
  return settings.number('query_pre_attn_scalar', 256) ** -0.5
}

/**
 * GGUF files do not hold that number. It is the head size, except in the largest models, which llama.cpp knows by how
 * many layers they have.
 */
export function ggufGemmaScale(
  { layers, d, heads, headDim }: StatedConfig,
  { largest }: { largest: number },
): number {
  return (layers === largest ? d / heads : headDim) ** -0.5
}

/** Caps that a setting of null or 0 leaves out. */
export function caps(
  settings: Settings,
  { attention, logits }: { attention?: string; logits: string },
): Pick<ModelConfig, 'attentionCap' | 'logitCap'> {
  const attentionCap = attention === undefined ? undefined : settings.optionalNumber(attention)
  const logitCap = settings.optionalNumber(logits)
  return { ...(attentionCap ? { attentionCap } : {}), ...(logitCap ? { logitCap } : {}) }
}
