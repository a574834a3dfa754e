import { scale } from './loss/batch-loss.ts'
import type { Parameters } from './loss/loss-model.ts'

/**
 * Scales gradients, in place, whose global norm is above `most` down to it. Returns the norm they had; NaN or infinite
 * as soon as one value is.
 */
export function clipNorm(gradients: Parameters, most: number): number {
  const norm = globalNorm(gradients)
  if (norm > most) scale(gradients, most / norm)
  return norm
}

/** Square root of the sum of all squares. */
function globalNorm(gradients: Parameters): number {
  let sum = 0
  for (const values of gradients.values()) for (const value of values) sum += value * value
  return Math.sqrt(sum)
}
