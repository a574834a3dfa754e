import type { Sampling } from '../../shared/wire.ts'
import type { Distribution } from './distribution.ts'

/** How often this sequence has generated each token. */
export type TokenCounts = ReadonlyMap<number, number>

export interface LogitStage {
  readonly name: string
  applies(sampling: Sampling): boolean
  /** Changes `logits` [vocab] in place. */
  apply(logits: Float32Array, given: { sampling: Sampling; counts: TokenCounts }): void
}

export interface WeightStage {
  readonly name: string
  applies(sampling: Sampling): boolean
  /** Narrows what may be drawn. */
  apply(distribution: Distribution, sampling: Sampling): void
}

function add(logits: Float32Array, id: number, delta: number): void {
  const logit = logits[id]
  if (logit !== undefined) logits[id] = logit + delta
}

/** What moves logits, in order. Greedy choice takes the largest after these. */
export const logitStages: readonly LogitStage[] = [
  {
    name: 'logit_bias',
    applies: ({ logitBias }) => logitBias.length > 0,
    apply: (logits, { sampling }) => {
      for (const [id, bias] of sampling.logitBias) add(logits, id, bias)
    },
  },
  {
    /** logit[j] -= count[j]·frequency + (count[j] > 0)·presence, over generated tokens (OpenAI's API reference). */
    name: 'penalties',
    applies: ({ frequencyPenalty, presencePenalty }) => frequencyPenalty !== 0 || presencePenalty !== 0,
    apply: (logits, { sampling, counts }) => {
      for (const [id, count] of counts)
        add(logits, id, -(count * sampling.frequencyPenalty + sampling.presencePenalty))
    },
  },
]

/** What narrows the distribution, in order; each sees only what the one before it left, renormalised. */
export const weightStages: readonly WeightStage[] = [
  {
    name: 'temperature',
    applies: () => true,
    apply: (distribution, { temperature }) => distribution.soften(temperature),
  },
  {
    name: 'top_k',
    applies: ({ topK }) => topK > 0,
    apply: (distribution, { topK }) => distribution.keepHeaviest(topK),
  },
  {
    name: 'top_p',
    applies: ({ topP }) => topP < 1,
    apply: (distribution, { topP }) => distribution.keepMass(topP),
  },
  {
    name: 'min_p',
    applies: ({ minP }) => minP > 0,
    apply: (distribution, { minP }) => distribution.keepAtLeast(minP),
  },
]
