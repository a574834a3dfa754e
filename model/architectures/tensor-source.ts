import type { ModelConfig } from '../../shared/backbone.ts'
import type { LayerTensor } from './decoder-tensors.ts'

/**
 * Names of a decoder's matrices and vectors, whatever file they come from. Matrices are [out, in], row-major; rows of
 * q and k, and their norms, are in rotate-half order (x0 x1 … y0 y1 …), not interleaved (x0 y0 x1 y1 …).
 */
export type TensorName = 'embedding' | 'head' | 'norm' | `layers.${number}.${LayerTensor}`

/** A model's weights as f32, one tensor at a time, so that a model larger than memory can be converted. */
export interface TensorSource {
  readonly config: ModelConfig
  /** A tensor of `decoderTensors(config)`, with the shape that stands there. */
  read(name: TensorName): Promise<Float32Array>
  /**
   * Whether the weights of each block of 32 along a row are multiples of one step, from −8 to 7 of it. A source that does not know
   * has no such method.
   */
  isSymmetric?(name: TensorName): boolean
}
