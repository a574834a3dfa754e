import { type Architecture, layerPattern } from './architecture.ts'
import { caps, gemmaLayer, gemmaTraits, ggufGemmaScale, statedGemmaScale } from './gemma-family.ts'
import { ggufLayer, ggufPostNorms, ggufSizes } from './gguf-settings.ts'
import { statedBiases, statedSizes, statedWindows } from './huggingface-settings.ts'

/** Every other layer, the first among them, has a window. */
const isSliding = (layer: number) => layer % 2 === 0

/** Gemma 2: norms around the blocks, alternating windows, soft caps. */
export const gemma2: Architecture = {
  name: 'Gemma 2',
  huggingFace: {
    modelTypes: ['gemma2'],
    config(settings) {
      settings.demand('use_bidirectional_attention', [false], 'attention in both directions')
      const sizes = statedSizes(settings, { contextLength: 8192, headDim: 256, kvHeads: 4 })
      const window = settings.number('sliding_window', 4096)
      return {
        ...sizes,
        ...statedBiases(settings),
        ...gemmaTraits(sizes, statedGemmaScale(settings)),
        ...layerPattern(sizes, statedWindows(settings, { ...sizes, window, isSliding })),
        ...caps(settings, { attention: 'attn_logit_softcapping', logits: 'final_logit_softcapping' }),
      }
    },
    tiedByDefault: true,
    layer: gemmaLayer,
    normOffset: 1,
  },
  gguf: {
    architecture: 'gemma2',
    config(metadata, tensors) {
      const sizes = ggufSizes(metadata, tensors)
      const window = metadata.number('attention.sliding_window', 4096)
      return {
        ...sizes,
        ...gemmaTraits(sizes, sizes.attentionScale ?? ggufGemmaScale(sizes, { largest: 46 })),
        ...layerPattern(sizes, (layer) => ({ rotary: 0, window: isSliding(layer) ? window : null })),
        ...caps(metadata, { attention: 'attn_logit_softcapping', logits: 'final_logit_softcapping' }),
      }
    },
    layer: { ...ggufLayer, ...ggufPostNorms },
    interleaved: false,
  },
}
