import type { ModelConfig } from '../../shared/backbone.ts'
import type { Architecture } from './architecture.ts'
import { ggufLayer, ggufSizes } from './gguf-settings.ts'
import { llamaLayer, statedBiases, statedSizes } from './huggingface-settings.ts'
import type { Settings } from './settings.ts'

/** Granite 3.x, the dense ones: Llama's layers with four multipliers. */
export const granite: Architecture = {
  name: 'Granite 3',
  huggingFace: {
    modelTypes: ['granite'],
    config: (settings) => ({
      ...statedSizes(settings),
      ...statedBiases(settings),
      attentionScale: settings.number('attention_multiplier', 1),
      ...multipliers(settings, {
        embeddingScale: 'embedding_multiplier',
        residualScale: 'residual_multiplier',
        logitDivisor: 'logits_scaling',
      }),
    }),
    tiedByDefault: false,
    layer: llamaLayer,
  },
  gguf: {
    architecture: 'granite',
    config: (metadata, tensors) => ({
      ...ggufSizes(metadata, tensors),
      ...multipliers(metadata, {
        embeddingScale: 'embedding_scale',
        residualScale: 'residual_scale',
        logitDivisor: 'logit_scale',
      }),
    }),
    layer: ggufLayer,
    interleaved: true,
  },
}

function multipliers(
  settings: Settings,
  keys: { embeddingScale: string; residualScale: string; logitDivisor: string },
): Pick<ModelConfig, 'embeddingScale' | 'residualScale' | 'logitScale'> {
  const positive = (key: string) => {
    const value = settings.number(key, 1)
    if (!(value > 0)) throw settings.invalid(key, `is ${value}; it must be above 0`)
    return value
  }
  return {
    embeddingScale: positive(keys.embeddingScale),
    residualScale: positive(keys.residualScale),
    logitScale: 1 / positive(keys.logitDivisor),
  }
}
