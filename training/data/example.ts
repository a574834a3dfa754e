/** One training example in token ids: the whole prompt as served, and the answer with the token that ends it. */
export interface Example {
  readonly instruction: readonly number[]
  readonly response: readonly number[]
}
