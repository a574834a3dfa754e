/** How much of a device is measured. */
export interface Sizes {
  /** The tiny checkpoints whose logits are compared; all when absent. */
  readonly architectures?: readonly string[]
  readonly batches: readonly number[]
  /** Rising, and 0 first. */
  readonly adapterCounts: readonly number[]
  /** Tokens of the prompts. */
  readonly prompts: readonly number[]
}

export const wholeSizes: Sizes = {
  batches: [1, 8, 32, 64, 128],
  adapterCounts: [0, 1, 8, 64, 1000],
  prompts: [256, 2048, 8000],
}

/** To try the script out where a device is software, which compiles each shader for seconds. */
export const smallSizes: Sizes = {
  architectures: ['llama-bias', 'phi3'],
  batches: [1, 8],
  adapterCounts: [0, 1, 8],
  prompts: [256],
}
