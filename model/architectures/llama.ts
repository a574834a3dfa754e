import type { Architecture } from './architecture.ts'
import { ggufLayer, ggufSizes, windowEverywhere } from './gguf-settings.ts'
import { llamaLayer, statedBiases, statedSizes } from './huggingface-settings.ts'

/** Llama 1 to 3.3 and the many models of its shape, SmolLM and SmolLM2 among them. Mistral's GGUF files say llama too. */
export const llama: Architecture = {
  name: 'Llama',
  huggingFace: {
    modelTypes: ['llama'],
    config: (settings) => ({ ...statedSizes(settings), ...statedBiases(settings) }),
    tiedByDefault: false,
    layer: llamaLayer,
  },
  gguf: {
    architecture: 'llama',
    config(metadata, tensors) {
      metadata.demand('residual_scale', [1], 'scaled residuals')
      metadata.demand('embedding_scale', [1], 'scaled embeddings')
      metadata.demand('logit_scale', [1], 'scaled logits')
      return windowEverywhere(metadata, ggufSizes(metadata, tensors))
    },
    layer: ggufLayer,
    interleaved: true,
  },
}
