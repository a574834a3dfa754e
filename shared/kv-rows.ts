/** The parts of a request that take rows of KV cache. */
export interface RowNeed {
  /** Rows that the adapter makes (`l_sp`); 0 for the untuned backbone. */
  readonly promptRows: number
  readonly promptTokens: number
  readonly maxTokens: number
}

/**
 * Rows of KV cache that one choice of a request may fill, and that a node sets aside for it. The edge admits by this
 * count, routing looks for a node with so much room, and the node refuses by it: there is no other count.
 */
export function kvRows({ maxTokens, promptRows, promptTokens }: RowNeed): number {
  return promptRows + promptTokens + maxTokens
}
