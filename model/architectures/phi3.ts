import { type Architecture, layerPattern } from './architecture.ts'
import { ggufLayer, ggufSizes, windowEverywhere } from './gguf-settings.ts'
import { llamaLayer, statedSizes, statedWindows } from './huggingface-settings.ts'

/** Phi-3, Phi-3.5 and Phi-4-mini: fused matrices, rotary positions on a part of each head, LongRoPE. */
export const phi3: Architecture = {
  name: 'Phi-3 and Phi-4-mini',
  huggingFace: {
    modelTypes: ['phi3'],
    config(settings) {
      const sizes = statedSizes(settings, { contextLength: 4096, rmsEps: 1e-5 })
      const window = settings.optionalNumber('sliding_window')
      const isSliding = () => window !== undefined
      return { ...sizes, ...layerPattern(sizes, statedWindows(settings, { ...sizes, window, isSliding })) }
    },
    tiedByDefault: false,
    layer: llamaLayer,
    fused: { 'self_attn.qkv_proj': ['q', 'k', 'v'], 'mlp.gate_up_proj': ['gate', 'up'] },
  },
  gguf: {
    architecture: 'phi3',
    config: (metadata, tensors) => windowEverywhere(metadata, ggufSizes(metadata, tensors)),
    layer: ggufLayer,
    fused: { attn_qkv: ['q', 'k', 'v'], ffn_up: ['gate', 'up'] },
    interleaved: false,
  },
}
