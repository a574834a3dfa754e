import { type Architecture, layerPattern } from './architecture.ts'
import { ggufLayer, ggufSizes } from './gguf-settings.ts'
import { llamaLayer, qwenWindows, statedSizes } from './huggingface-settings.ts'

/** Qwen2 and Qwen2.5: Llama's layers with biases on q, k and v. */
export const qwen2: Architecture = {
  name: 'Qwen2 and Qwen2.5',
  huggingFace: {
    modelTypes: ['qwen2'],
    config(settings) {
      const sizes = statedSizes(settings, { contextLength: 32_768, kvHeads: 32 })
      return { ...sizes, ...layerPattern(sizes, qwenWindows(settings, sizes)), biases: ['qkv'] }
    },
    tiedByDefault: false,
    layer: llamaLayer,
  },
  gguf: { architecture: 'qwen2', config: ggufSizes, layer: ggufLayer, interleaved: false },
}
