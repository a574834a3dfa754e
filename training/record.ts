/** Measurements of a running training. Steps count from 1, losses are mean cross-entropies per response token. */
export type TrainRecord =
  | {
      readonly type: 'step'
      readonly step: number
      readonly loss: number
      /** The gradient's norm before clipping. */
      readonly gradientNorm: number
      /** Share of the full rates. */
      readonly rateFactor: number
      /** Prompt and response tokens of the step. */
      readonly tokens: number
      readonly tokensPerSecond: number
    }
  | {
      readonly type: 'evaluation'
      readonly step: number
      /** The dev loss of the tensors as a file would hold them. */
      readonly devLoss: number
    }
  /** The dev loss of the untuned backbone. */
  | { readonly type: 'untuned'; readonly devLoss: number }
