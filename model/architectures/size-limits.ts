/** Largest sizes that a model file may claim, well above any model this serves: checked before anything is allocated. */
export const sizeLimits = {
  layers: 256,
  d: 16_384,
  heads: 512,
  kvHeads: 512,
  headDim: 1024,
  ffn: 131_072,
  vocab: 1_000_000,
  contextLength: 16_777_216,
} as const
