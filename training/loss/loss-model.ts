import type { AdapterMetadata, TensorSpec } from '../../shared/adapter-file.ts'

/** One training example in token ids: the whole prompt as served, and the answer with the token that ends it. */
export interface Example {
  readonly instruction: readonly number[]
  readonly response: readonly number[]
}

/** An adapter's tensors in f32, by their names in the adapter file. */
export type Parameters = ReadonlyMap<string, Float32Array>

/** Of one batch: the mean cross-entropy over all response tokens, and its gradient for every parameter. */
export interface LossAndGradients {
  /** −log p summed over the batch's response tokens. */
  readonly lossSum: number
  /** Response tokens of the batch. */
  readonly tokens: number
  /** Of `lossSum` (a sum, so that batches can be accumulated), by name. Valid until the next call. */
  readonly gradients: Parameters
}

/**
 * A frozen backbone with one adapter's prompt rows, in training form: the loss of batches of examples, and the
 * gradient of the adapter's tensors. One call at a time.
 */
export interface LossModel {
  readonly metadata: AdapterMetadata
  /** The tensors it is trained in: name and shape as in the adapter file. */
  readonly specs: ReadonlyMap<string, TensorSpec>
  differentiate(batch: readonly Example[], parameters: Parameters): Promise<LossAndGradients>
  /** −log p of each example's response: the sum over its tokens, in the batch's order; `parameters` undefined asks the untuned backbone. */
  score(batch: readonly Example[], parameters: Parameters | undefined): Promise<Float64Array>
  close(): Promise<void>
}
