import { scale } from './loss/batch-loss.ts'
import type { Parameters } from './loss/loss-model.ts'

export interface GroupSettings {
  readonly rate: number
  readonly decay: number
}

/** AdamW's memory of one tensor. */
export interface Moments {
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

/**
 * AdamW with decoupled weight decay (Loshchilov and Hutter, "Decoupled Weight Decay Regularization", ICLR 2019,
 * algorithm 2). It works on copies of the tensors, in place.
 */
export class AdamW {
  readonly parameters: Parameters
  readonly #groupOf: (name: string) => GroupSettings
  readonly #moments: Map<string, Moments>

  constructor(
    parameters: Parameters,
    {
      groupOf,
      moments = new Map(),
    }: { groupOf: (name: string) => GroupSettings; moments?: ReadonlyMap<string, Moments> },
  ) {
    this.parameters = new Map([...parameters].map(([name, values]) => [name, values.slice()]))
    this.#groupOf = groupOf
    this.#moments = new Map(
      [...moments].map(([name, { updates, first, second }]) => [
        name,
        { updates, first: first.slice(), second: second.slice() },
      ]),
    )
  }

  get moments(): ReadonlyMap<string, Moments> {
    return this.#moments
  }

  /** Updates the tensors that have a gradient; `factor` scales their rates. */
  update(gradients: Parameters, factor: number): void {
    for (const [name, gradient] of gradients) {
      const values = this.parameters.get(name)
      if (values === undefined) throw new Error(`there is no parameter ${name}`)
      const { rate, decay } = this.#groupOf(name)
      this.#moments.set(
        name,
        updateTensor(values, gradient, {
          moments: this.#of(name, values.length),
          rate: rate * factor,
          decay,
        }),
      )
    }
  }

  #of(name: string, length: number): Moments {
    return (
      this.#moments.get(name) ?? {
        updates: 0,
        first: new Float32Array(length),
        second: new Float32Array(length),
      }
    )
  }
}

function updateTensor(
  values: Float32Array,
  gradient: Float32Array,
  { moments, rate, decay }: GroupSettings & { moments: Moments },
): Moments {
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
  return { updates, first, second }
}

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
