/** One training example in token ids: the whole prompt as served, and the answer with the token that ends it. */
export interface Example {
  readonly instruction: readonly number[]
  /** Tokens of the prompt in front of its newest turn; absent where the whole prompt is the newest turn. */
  readonly turn?: number | undefined
  readonly response: readonly number[]
}
