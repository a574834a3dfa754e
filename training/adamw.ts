/** AdamW's memory of one tensor. */
export interface AdamMoments {
  readonly rule: 'adamw'
  /** Updates so far. */
  readonly updates: number
  /** Running mean of the gradient. */
  readonly first: Float32Array
  /** Running mean of its square. */
  readonly second: Float32Array
}

const beta1 = 0.9
const beta2 = 0.999
const epsilon = 1e-8

export function freshAdamMoments(length: number): AdamMoments {
  return {
    rule: 'adamw',
    updates: 0,
    first: new Float32Array(length),
    second: new Float32Array(length),
  }
}

/**
 * AdamW with decoupled weight decay (Loshchilov and Hutter, "Decoupled Weight Decay Regularization", ICLR 2019,
 * algorithm 2). Changes the values and the means in place, and returns the moments with the update counted.
 */
export function adamW(
  values: Float32Array,
  gradient: Float32Array,
  { moments, rate, decay }: { moments: AdamMoments; rate: number; decay: number },
): AdamMoments {
  const { first, second } = moments
  const updates = moments.updates + 1
  const keep = 1 - rate * decay
  const step = rate / (1 - beta1 ** updates)
  const correction = 1 / (1 - beta2 ** updates)
  for (let i = 0; i < values.length; i++) {
    const g = gradient[i] ?? 0
    const m = beta1 * (first[i] ?? 0) + (1 - beta1) * g
    const v = beta2 * (second[i] ?? 0) + (1 - beta2) * g * g
    first[i] = m
    second[i] = v
    values[i] = keep * (values[i] ?? 0) - (step * m) / (Math.sqrt(v * correction) + epsilon)
  }
  return { rule: 'adamw', updates, first, second }
}
