import type { PromptPlaces } from '../../shared/training/prompt-encoder.ts'

/** One training example in token ids: the whole prompt as served, and the answer with the token that ends it. */
export interface Example extends PromptPlaces {
  readonly instruction: readonly number[]
  readonly response: readonly number[]
}
