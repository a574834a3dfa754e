import type { Sampling } from '../../shared/wire.ts'
import type { Distribution } from './distribution.ts'

/** The values that a stage may read besides the logits. */
interface Given {
  readonly sampling: Sampling
  /** How often this sequence has generated each token. */
  readonly counts: ReadonlyMap<number, number>
  /** Tokens generated so far. */
  readonly generated: number
  /** The last of them, as many as a bad word may have in front of its last token. */
  readonly latest: readonly number[]
  readonly promptTokens: ReadonlySet<number>
  readonly stopTokens: readonly number[]
}

export interface LogitStage {
  readonly name: string
  applies(sampling: Sampling): boolean
  /** Changes `logits` [vocab] in place. */
  apply(logits: Float32Array, given: Given): void
}

export interface WeightStage {
  readonly name: string
  applies(sampling: Sampling): boolean
  /** Narrows what may be drawn. */
  apply(distribution: Distribution, sampling: Sampling): void
}

/** A repetition penalty below this makes what it lifts as good as certain, and must not overflow. */
const leastRepetitionPenalty = 1e-6

/** Far below every logit, and above what a grammar forbids. */
const unwanted = -1e30

function add(logits: Float32Array, id: number, delta: number): void {
  const logit = logits[id]
  if (logit !== undefined) logits[id] = logit + delta
}

/** The stages that change logits, in order. Greedy choice takes the largest logit after them. */
export const logitStages: readonly LogitStage[] = [
  {
    name: 'logit_bias',
    applies: ({ logitBias }) => logitBias.length > 0,
    apply: (logits, { sampling }) => {
      for (const [id, bias] of sampling.logitBias) add(logits, id, bias)
    },
  },
  {
    /** logit[j] /= p where it is positive, *= p where it is not, once for each token of prompt and answer (Keskar et al., "CTRL", 2019; signs as in transformers). */
    name: 'repetition',
    applies: ({ repetitionPenalty = 1 }) => repetitionPenalty !== 1,
    apply: (logits, { counts, promptTokens, sampling: { repetitionPenalty = 1 } }) => {
      const penalty = Math.max(repetitionPenalty, leastRepetitionPenalty)
      const scale = (id: number) => {
        const logit = logits[id]
        if (logit !== undefined) logits[id] = logit > 0 ? logit / penalty : logit * penalty
      }
      for (const id of promptTokens) scale(id)
      for (const id of counts.keys()) if (!promptTokens.has(id)) scale(id)
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
  {
    name: 'bad_words',
    applies: ({ badWords = [] }) => badWords.length > 0,
    apply: (logits, { latest, sampling: { badWords = [] } }) => {
      const ends = (word: readonly number[]) =>
        word.slice(0, -1).every((id, at) => id === latest[latest.length - word.length + 1 + at])
      // A set: what two words end with is unwanted once.
      const last = new Set(badWords.filter(ends).flatMap((word) => word.at(-1) ?? []))
      for (const id of last) add(logits, id, unwanted)
    },
  },
  {
    name: 'min_tokens',
    applies: ({ minTokens = 0 }) => minTokens > 0,
    apply: (logits, { generated, sampling: { minTokens = 0 }, stopTokens }) => {
      if (generated < minTokens) for (const id of stopTokens) add(logits, id, Number.NEGATIVE_INFINITY)
    },
  },
]

/** Only tokens whose bit is set in `mask` [vocab / 32] may be chosen. */
export function maskStage(mask: Int32Array): LogitStage {
  return {
    name: 'grammar',
    applies: () => true,
    apply(logits) {
      for (const [at, word] of mask.entries()) {
        if (word === -1) continue
        const first = 32 * at
        if (word === 0) logits.fill(Number.NEGATIVE_INFINITY, first, first + 32)
        else
          for (let bit = 0; bit < 32; bit++)
            if (((word >>> bit) & 1) === 0) add(logits, first + bit, Number.NEGATIVE_INFINITY)
      }
    },
  }
}

/**
 * The stages that narrow the distribution, in order. Each sees only the tokens that the one before it left,
 * renormalised.
 */
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
