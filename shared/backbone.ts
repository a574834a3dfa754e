import { z } from 'zod'
import { BackboneDigest, BackboneSlug } from './ids.ts'

/**
 * Rotary positions (https://arxiv.org/abs/2104.09864): pair i of a head's first `dims` numbers turns by
 * position / (theta^(2i/dims) · factors[i]).
 */
export const Rotary = z.strictObject({
  theta: z.number().gt(0),
  /** How many of a head's numbers are turned; all of them when absent. */
  dims: z.int().min(2).optional(),
  /** The divisor of each pair's frequency, [dims / 2]; 1 when absent. */
  factors: z.array(z.number().gt(0)).optional(),
  /** Scales the sines and cosines. */
  magnitude: z.number().gt(0).optional(),
  /** Other factors, for sequences that are to be longer than so many rows (longrope). */
  beyond: z
    .strictObject({
      rows: z.int().min(1),
      factors: z.array(z.number().gt(0)),
      magnitude: z.number().gt(0).optional(),
    })
    .optional(),
  /**
   * Another base for each length beyond so many rows (dynamic NTK): where a sequence is to have n, pair i turns slower by
   * (1 + factor · (n / rows − 1))^exponents[i], [dims / 2].
   */
  dynamic: z
    .strictObject({
      rows: z.int().min(1),
      factor: z.number().gt(1),
      exponents: z.array(z.number().min(0)),
    })
    .optional(),
})
export type Rotary = z.infer<typeof Rotary>

/** How a layer attends: which of the model's `rotary` it uses, and how many rows a token sees, itself included. */
export const LayerAttention = z.strictObject({
  rotary: z.int().min(0).nullable(),
  window: z.int().min(1).nullable(),
})
export type LayerAttention = z.infer<typeof LayerAttention>

/**
 * Shape of a decoder. The optional fields say how its layers differ from the common one (Llama's): a norm before each
 * block, grouped-query attention with rotary positions over all rows before, and a gated feed-forward block with SiLU.
 */
export const ModelConfig = z.strictObject({
  /** Transformer layers. */
  layers: z.int().min(1),
  /** Hidden size. */
  d: z.int().min(1),
  heads: z.int().min(1),
  kvHeads: z.int().min(1),
  headDim: z.int().min(1),
  /** Width of the gated feed-forward layer. */
  ffn: z.int().min(1),
  vocab: z.int().min(1),
  contextLength: z.int().min(1),
  rmsEps: z.number().gt(0),
  /** The output head is the embedding matrix. */
  tiedHead: z.boolean(),
  rotary: z.array(Rotary).min(1),
  /** One for each layer; when absent, all use the first of `rotary` and no window. */
  attention: z.array(LayerAttention).optional(),
  /** Attention scores are q·k times this; 1/√headDim when absent. */
  attentionScale: z.number().gt(0).optional(),
  /** Attention scores and logits x become cap · tanh(x / cap). */
  attentionCap: z.number().gt(0).optional(),
  logitCap: z.number().gt(0).optional(),
  /** Where the norms of attention and feed-forward blocks stand. */
  norms: z.enum(['after', 'around']).optional(),
  /** Norms of q and k, over each head by itself or over all heads as one vector. */
  qkNorms: z.enum(['each-head', 'all-heads']).optional(),
  /** Epsilon of those norms, where it is another than `rmsEps`. */
  qkNormEps: z.number().gt(0).optional(),
  /** The products that have a bias added. */
  biases: z.array(z.enum(['qkv', 'o', 'gate_up', 'down'])).optional(),
  activation: z.enum(['gelu', 'gelu-tanh']).optional(),
  embeddingScale: z.number().gt(0).optional(),
  /** The factor of each block's output before it joins the residual stream. */
  residualScale: z.number().gt(0).optional(),
  logitScale: z.number().gt(0).optional(),
})
export type ModelConfig = z.infer<typeof ModelConfig>

/** How the weights of a backbone are stored: in 8 or 4 bits with a scale for each block of 32, or as floats. */
export const WeightFormat = z.enum(['q8', 'q4', 'f32', 'f16', 'bf16'])
export type WeightFormat = z.infer<typeof WeightFormat>

/** Weight matrices, by what they are in a layer or at the model's ends. */
export const MatrixKind = z.enum(['head', 'qkv', 'o', 'gate_up', 'down'])
export type MatrixKind = z.infer<typeof MatrixKind>

export const StoredWeights = z.strictObject({
  weights: WeightFormat,
  /** The matrices that keep 8 bits where the others have 4; the embedding always does. */
  eightBits: z.array(MatrixKind).optional(),
})
export type StoredWeights = z.infer<typeof StoredWeights>

const FileEntry = z.strictObject({ sha256: z.string().regex(/^[0-9a-f]{64}$/), bytes: z.int().min(0) })

/** `manifest.json` of a backbone folder describes the backbone and has the hash of every file in the folder. */
export const BackboneManifest = z.strictObject({
  format: z.literal('quartet-backbone/1'),
  slug: BackboneSlug,
  /** SHA-256 of the converted weights (`weights.bin`); adapters name it. */
  digest: BackboneDigest,
  config: ModelConfig,
  ...StoredWeights.shape,
  /** Version of the ONNX graphs in the folder; a node serves its own alone. */
  graph: z.int().min(1),
  tokens: z.strictObject({
    /**
     * The template's `bos_token`; null for a model without one. The post-processor in tokenizer.json decides whether a
     * raw prompt starts with it.
     */
    bos: z.int().nullable(),
    /** Ids that end a response; the first is what a template calls `eos_token`. */
    eos: z.array(z.int()).min(1),
  }),
  chat: z.object({
    /** Jinja source. */
    template: z.string(),
  }),
  files: z.record(z.string(), FileEntry),
  source: z.strictObject({
    kind: z.enum(['gguf', 'huggingface', 'seeded']),
    name: z.string(),
    sha256: z.string(),
  }),
})
export type BackboneManifest = z.infer<typeof BackboneManifest>

/** The sizes that adapters must agree with. */
export const BackboneShape = ModelConfig.pick({ d: true, layers: true, vocab: true })
export type BackboneShape = z.infer<typeof BackboneShape>

/**
 * The part of a backbone that the edge needs: it turns text into token ids and tells which adapters fit. Its
 * tokenizer.json travels beside it.
 */
export const EdgeBackbone = BackboneManifest.pick({
  slug: true,
  digest: true,
  tokens: true,
  chat: true,
}).extend({
  contextLength: ModelConfig.shape.contextLength,
  ...BackboneShape.shape,
})
export type EdgeBackbone = z.infer<typeof EdgeBackbone>
