import type { GraphBuilder } from './builder.ts'
import type { Value } from './values.ts'

/** x / rms(x) · weight. */
export interface Norm {
  readonly weight: Value
  readonly epsilon: number
}

/** x / sqrt(mean(x²) + epsilon) · weight, row by row (https://arxiv.org/abs/1910.07467). */
export function rmsNorm(g: GraphBuilder, x: Value, { weight, epsilon }: Norm): Value {
  return g.apply('SimplifiedLayerNormalization', [x, weight], { axis: -1, epsilon })
}
