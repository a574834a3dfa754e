import { z } from 'zod'

/** A `tokenizer.json` of Hugging Face's tokenizers, as far as it is compiled (compile-tokenizer.ts). */

export const AddedToken = z.object({
  id: z.int().min(0),
  content: z.string().min(1),
  special: z.boolean().default(false),
  /** White space in front of it, behind it, belongs to it. */
  lstrip: z.boolean().default(false),
  rstrip: z.boolean().default(false),
  /** It is no token within a word. */
  single_word: z.boolean().default(false),
  /** It is looked for in normalised text. */
  normalized: z.boolean().default(false),
})
export type AddedToken = z.infer<typeof AddedToken>

const Stage = z.looseObject({ type: z.string() })
export type Stage = z.infer<typeof Stage>

const Merge = z.union([z.string(), z.tuple([z.string(), z.string()])])

/** No model has nearly as many. */
const maxIds = 2_000_000

export const TokenizerFile = z.looseObject({
  added_tokens: z.array(AddedToken),
  normalizer: Stage.nullish(),
  pre_tokenizer: Stage.nullish(),
  post_processor: Stage.nullish(),
  decoder: Stage,
  model: z.looseObject({
    type: z.literal('BPE', { error: 'only BPE tokenizers are supported' }),
    vocab: z.record(z.string(), z.int().min(0).max(maxIds)),
    merges: z.array(Merge).max(2 * maxIds),
    unk_token: z.string().nullish(),
    fuse_unk: z.boolean().default(false),
    byte_fallback: z.boolean().default(false),
    ignore_merges: z.boolean().default(false),
    dropout: z.number().nullish(),
    continuing_subword_prefix: z.string().nullish(),
    end_of_word_suffix: z.string().nullish(),
  }),
})
export type TokenizerFile = z.infer<typeof TokenizerFile>

/** A stage, or those of a `Sequence` of stages, in order. `inner` is where the sequence has them. */
export function flattenStages(
  stage: Stage | null | undefined,
  inner: 'normalizers' | 'pretokenizers' | 'processors' | 'decoders',
): Stage[] {
  if (stage === null || stage === undefined) return []
  if (stage.type !== 'Sequence') return [stage]
  return z
    .array(Stage)
    .parse(stage[inner])
    .flatMap((nested) => flattenStages(nested, inner))
}
