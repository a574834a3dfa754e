import { type Architecture, layerPattern } from './architecture.ts'
import { ggufLayer, ggufQkNorms, ggufSizes } from './gguf-settings.ts'
import { llamaLayer, qkNormNames, qwenWindows, statedBiases, statedSizes } from './huggingface-settings.ts'

/** Qwen3, the dense ones: q and k of each head are normed before they are turned. */
export const qwen3: Architecture = {
  name: 'Qwen3',
  huggingFace: {
    modelTypes: ['qwen3'],
    config(settings) {
      const sizes = statedSizes(settings, { contextLength: 32_768, kvHeads: 32, headDim: 128 })
      return {
        ...sizes,
        ...layerPattern(sizes, qwenWindows(settings, sizes)),
        ...statedBiases(settings),
        qkNorms: 'each-head',
      }
    },
    tiedByDefault: false,
    layer: { ...llamaLayer, ...qkNormNames },
  },
  gguf: {
    architecture: 'qwen3',
    config: (metadata, tensors) => ({ ...ggufSizes(metadata, tensors), qkNorms: 'each-head' }),
    layer: { ...ggufLayer, ...ggufQkNorms },
    interleaved: false,
  },
}
