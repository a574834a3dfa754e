import type { AdapterMetadata, TensorSpec } from '../../shared/adapter-file.ts'
import type { Stretch } from '../data/runs.ts'

/** An adapter's tensors in f32, by their names in the adapter file. */
export type Parameters = ReadonlyMap<string, Float32Array>

/** The summed cross-entropy of one run, and its gradient for every parameter. */
export interface LossAndGradients {
  /** −log p summed over the run's scored response tokens. */
  readonly lossSum: number
  /** Scored response tokens of the run. */
  readonly tokens: number
  /** Gradients of `lossSum` (a sum, so that runs can be added up), by name. Valid until the next call. */
  readonly gradients: Parameters
}

/**
 * A frozen backbone with one adapter's prompt rows, in training form: each call is one run of the model, whose memory
 * grows with the stretches it gets (`runsOf` cuts batches). One call at a time.
 */
export interface LossModel {
  readonly metadata: AdapterMetadata
  /** The tensors it is trained in: name and shape as in the adapter file. */
  readonly specs: ReadonlyMap<string, TensorSpec>
  /** Rows that a sequence of a run may have. */
  readonly contextLength: number
  /** Rows of each sequence of such a run, padding and prompt rows included. */
  rowsOf(run: readonly Stretch[]): number
  differentiate(run: readonly Stretch[], parameters: Parameters): Promise<LossAndGradients>
  /** −log p of each stretch's scored response tokens, summed, in the run's order; `parameters` undefined asks the untuned backbone. */
  score(run: readonly Stretch[], parameters: Parameters | undefined): Promise<Float64Array>
  close(): Promise<void>
}
