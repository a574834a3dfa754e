/** How much of a device is measured. */
export interface Sizes {
  /** The tiny checkpoints whose logits are compared; all when absent. */
  readonly architectures?: readonly string[]
  readonly batches: readonly number[]
  /** Steps that a decode measurement takes the median of. */
  readonly steps: number
  /** Rising, and 0 first. */
  readonly adapterCounts: readonly number[]
  /** Tokens of the prompts. */
  readonly prompts: readonly number[]
}

export const wholeSizes: Sizes = {
  batches: [1, 8, 32, 64, 128],
  steps: 24,
  adapterCounts: [0, 1, 8, 64, 1000],
  prompts: [256, 2048, 8000],
}

/** To try the script out where a device is software, which compiles each shader for seconds. */
export const smallSizes: Sizes = {
  architectures: ['llama-bias', 'phi3'],
  batches: [1, 4],
  steps: 6,
  adapterCounts: [0, 1, 6],
  prompts: [256],
}
