import { type Architecture, layerPattern } from './architecture.ts'
import { caps, gemmaLayer, gemmaTraits, ggufGemmaScale, statedGemmaScale } from './gemma-family.ts'
import { ggufLayer, ggufPostNorms, ggufQkNorms, ggufSizes } from './gguf-settings.ts'
import {
  qkNormNames,
  statedBiases,
  statedRotary,
  statedSizes,
  statedWindows,
} from './huggingface-settings.ts'

/** The period of layers that see everything; the others have a window. */
const pattern = 6
const localTheta = 10_000

/** Gemma 3's text model: as Gemma 2 without caps, with q and k norms and other rotary positions in windowed layers. */
export const gemma3: Architecture = {
  name: 'Gemma 3 (text)',
  huggingFace: {
    modelTypes: ['gemma3_text'],
    textPartOf: ['gemma3'],
    config(settings) {
      settings.demand('use_bidirectional_attention', [false], 'attention in both directions')
      const nested = settings.section('rope_parameters')
      const sizes = statedSizes(settings, {
        contextLength: 131_072,
        heads: 8,
        headDim: 256,
        kvHeads: 4,
        theta: 1e6,
        vocab: 262_208,
      })
      const global = nested?.section('full_attention')
      const local = nested?.section('sliding_attention')
      const rotaryOf = {
        headDim: sizes.headDim,
        positions: settings.number('max_position_embeddings', 131_072),
      }
      const every =
        settings.optionalNumber('sliding_window_pattern') ??
        settings.number('_sliding_window_pattern', pattern)
      const attention = statedWindows(settings, {
        layers: sizes.layers,
        window: settings.number('sliding_window', 4096),
        isSliding: (layer) => (layer + 1) % every !== 0,
        rotaryOf: (_, sliding) => (sliding ? 1 : 0),
      })
      return {
        ...sizes,
        rotary: [
          global === undefined
            ? (sizes.rotary[0] ?? { theta: 1e6 })
            : statedRotary(settings, {
                ...rotaryOf,
                scaling: global,
                theta: global.number('rope_theta', 1e6),
              }),
          statedRotary(settings, {
            ...rotaryOf,
            scaling: local,
            theta: local?.optionalNumber('rope_theta') ?? settings.number('rope_local_base_freq', localTheta),
          }),
        ],
        ...statedBiases(settings),
        ...gemmaTraits(sizes, statedGemmaScale(settings)),
        ...layerPattern(sizes, attention),
        // transformers has a setting for a cap of the scores, and its Gemma 3 does not apply it.
        ...caps(settings, { logits: 'final_logit_softcapping' }),
        qkNorms: 'each-head',
      }
    },
    tiedByDefault: true,
    layer: { ...gemmaLayer, ...qkNormNames },
    normOffset: 1,
  },
  gguf: {
    architecture: 'gemma3',
    config(metadata, tensors) {
      const sizes = ggufSizes(metadata, tensors)
      const window = metadata.number('attention.sliding_window', 4096)
      const every = metadata.number('attention.sliding_window_pattern', pattern)
      const isSliding = (layer: number) => (layer + 1) % every !== 0
      const { theta: _, factors: __, ...turned } = sizes.rotary[0] ?? { theta: 1e6 }
      return {
        ...sizes,
        rotary: [...sizes.rotary, { ...turned, theta: metadata.number('rope.freq_base_swa', localTheta) }],
        ...gemmaTraits(sizes, sizes.attentionScale ?? ggufGemmaScale(sizes, { largest: 62 })),
        ...layerPattern(sizes, (layer) =>
          isSliding(layer) ? { rotary: 1, window } : { rotary: 0, window: null },
        ),
        ...caps(metadata, { logits: 'final_logit_softcapping' }),
        qkNorms: 'each-head',
      }
    },
    layer: { ...ggufLayer, ...ggufPostNorms, ...ggufQkNorms },
    interleaved: false,
  },
}
