import type { MatrixShape } from './graph/orthogonal.ts'

/** Muon's memory of one matrix. */
export interface MuonMoments {
  readonly rule: 'muon'
  /** Updates so far. */
  readonly updates: number
  /** Running mean of the gradient. */
  readonly first: Float32Array
}

const beta = 0.9
/**
 * Root mean square of an update's values at a rate of 1, where its singular values are all 1: of a gradient of low rank they
 * are not, and it is less. Dev data chose it of two, so that one rate suits Muon and AdamW (docs/late-rows.md).
 */
const updateSize = 2 / 3

export function freshMuonMoments(length: number): MuonMoments {
  return { rule: 'muon', updates: 0, first: new Float32Array(length) }
}

/**
 * Muon (Jordan et al., "Muon: An optimizer for hidden layers in neural networks", 2024), with updates whose values are of one
 * size whatever the matrix's shape, and decoupled decay, as in Liu et al., "Muon is Scalable for LLM Training"
 * (https://arxiv.org/abs/2502.16982): a step along the running mean of a matrix's gradient whose singular values have all been
 * brought near 1, so that directions which few examples ask for are learned as fast as those which all ask for.
 *
 * Takes the gradient into the mean, in place, and returns the moments, and Nesterov's direction: the mean as the next
 * update will find it. `followDirection` makes the step when that has been orthogonalised (`graph/orthogonal.ts`).
 */
export function nextDirection(
  gradient: Float32Array,
  { first, updates }: MuonMoments,
): { readonly moments: MuonMoments; readonly direction: Float32Array } {
  const direction = new Float32Array(gradient.length)
  for (let i = 0; i < gradient.length; i++) {
    const g = gradient[i] ?? 0
    const m = beta * (first[i] ?? 0) + (1 - beta) * g
    first[i] = m
    direction[i] = beta * m + (1 - beta) * g
  }
  return { moments: { rule: 'muon', updates: updates + 1, first }, direction }
}

/** Steps along an orthogonalised direction, in place. */
export function followDirection(
  values: Float32Array,
  direction: Float32Array,
  { rows, columns, rate, decay }: MatrixShape & { rate: number; decay: number },
): void {
  const keep = 1 - rate * decay
  const step = rate * updateSize * Math.sqrt(Math.max(rows, columns))
  for (let i = 0; i < values.length; i++) values[i] = keep * (values[i] ?? 0) - step * (direction[i] ?? 0)
}
