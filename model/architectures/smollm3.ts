import { type Architecture, layerPattern } from './architecture.ts'
import { ggufLayer, ggufSizes } from './gguf-settings.ts'
import { llamaLayer, statedBiases, statedSizes, statedWindows } from './huggingface-settings.ts'

/**
 * The period of layers without rotary positions (https://arxiv.org/abs/2501.18795), where the file does not list them.
 */
const interval = 4

/** SmolLM3: Llama's layers, some of them without rotary positions. */
export const smollm3: Architecture = {
  name: 'SmolLM3',
  huggingFace: {
    modelTypes: ['smollm3'],
    config(settings) {
      const sizes = statedSizes(settings, { contextLength: 32_768, theta: 2_000_000, kvHeads: 4 })
      const every = settings.number('no_rope_layer_interval', interval)
      const listed = settings.numbers('no_rope_layers')
      if (listed !== undefined && listed.length !== sizes.layers)
        throw settings.invalid('no_rope_layers', `has ${listed.length} entries for ${sizes.layers} layers`)
      // Despite its name the list has 1 where a layer does turn.
      const turns = (layer: number) => (listed?.[layer] ?? (layer + 1) % every) !== 0
      const uses = settings.flag('use_sliding_window', false)
      const window = uses ? settings.optionalNumber('sliding_window') : undefined
      const attention = statedWindows(settings, {
        layers: sizes.layers,
        window,
        isSliding: (layer) => window !== undefined && !turns(layer),
        rotaryOf: (layer) => (turns(layer) ? 0 : null),
      })
      return { ...sizes, ...statedBiases(settings), ...layerPattern(sizes, attention) }
    },
    tiedByDefault: true,
    layer: llamaLayer,
  },
  gguf: {
    architecture: 'smollm3',
    config(metadata, tensors) {
      const sizes = ggufSizes(metadata, tensors)
      const turns = (layer: number) => (layer + 1) % interval !== 0
      return {
        ...sizes,
        ...layerPattern(sizes, (layer) => ({ rotary: turns(layer) ? 0 : null, window: null })),
      }
    },
    layer: ggufLayer,
    interleaved: true,
  },
}
