import { type Architecture, layerPattern } from './architecture.ts'
import { ggufLayer, ggufSizes, windowEverywhere } from './gguf-settings.ts'
import { llamaLayer, statedSizes, statedWindows } from './huggingface-settings.ts'

/** Mistral 7B, Nemo and Small: Llama's layers, in some versions with a window in every layer. */
export const mistral: Architecture = {
  name: 'Mistral',
  huggingFace: {
    modelTypes: ['mistral'],
    config(settings) {
      const sizes = statedSizes(settings, { contextLength: 131_072, kvHeads: 8 })
      const window = settings.optionalNumber('sliding_window')
      const isSliding = () => window !== undefined
      return { ...sizes, ...layerPattern(sizes, statedWindows(settings, { ...sizes, window, isSliding })) }
    },
    tiedByDefault: false,
    layer: llamaLayer,
  },
  gguf: {
    architecture: 'mistral',
    config: (metadata, tensors) => windowEverywhere(metadata, ggufSizes(metadata, tensors)),
    layer: ggufLayer,
    interleaved: true,
  },
}
