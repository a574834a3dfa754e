import type { ModelConfig } from '../../shared/backbone.ts'

/**
 * Names of a llama-family decoder's matrices and vectors, whatever file they come from. Matrices are [out, in],
 * row-major; `q` and `k` rows are in rotate-half order (Hugging Face's), not interleaved (llama GGUF's).
 */
export type TensorName =
  | 'embedding'
  | 'head'
  | 'norm'
  | `layers.${number}.${'attn_norm' | 'q' | 'k' | 'v' | 'o' | 'mlp_norm' | 'gate' | 'up' | 'down'}`

/** A model's weights as f32, one tensor at a time, so that a model larger than memory can be converted. */
export interface TensorSource {
  readonly config: ModelConfig
  /** embedding, head [vocab, d]; norms [d]; q [heads·headDim, d]; k, v [kvHeads·headDim, d]; o [d, heads·headDim];
   *  gate, up [ffn, d]; down [d, ffn]. `head` is absent when `config.tiedHead`. */
  read(name: TensorName): Promise<Float32Array>
}
