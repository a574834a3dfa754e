import { z } from 'zod'
import { BackboneDigest, BackboneSlug } from './ids.ts'

/** Shape of a llama-family decoder. */
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
  ropeTheta: z.number().gt(0),
  rmsEps: z.number().gt(0),
  /** The output head is the embedding matrix. */
  tiedHead: z.boolean(),
})
export type ModelConfig = z.infer<typeof ModelConfig>

const FileEntry = z.strictObject({ sha256: z.string().regex(/^[0-9a-f]{64}$/), bytes: z.int().min(0) })

/** `manifest.json` of a backbone folder: what it is and the hash of every file in it. */
export const BackboneManifest = z.strictObject({
  format: z.literal('quartet-backbone/1'),
  slug: BackboneSlug,
  /** SHA-256 of the converted weights (`weights.bin`); adapters name it. */
  digest: BackboneDigest,
  config: ModelConfig,
  weights: z.enum(['q8', 'f32']),
  /** Version of the ONNX graphs in the folder; a node serves its own alone. */
  graph: z.int().min(1),
  tokens: z.strictObject({
    /**
     * What a template calls `bos_token`; null for a model without. Whether a raw prompt starts with it is for
     * tokenizer.json's post-processor to say.
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
 * What the edge needs of a backbone: text in, token ids out, and which adapters fit it. Its tokenizer.json travels
 * beside it.
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
