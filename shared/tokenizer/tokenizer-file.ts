import { z } from 'zod'

/** A `tokenizer.json` of Hugging Face's tokenizers, as far as this worker reads it itself. */

export const AddedToken = z.looseObject({
  id: z.int().min(0),
  content: z.string().min(1),
  special: z.boolean().default(false),
  lstrip: z.boolean().default(false),
  rstrip: z.boolean().default(false),
})
export type AddedToken = z.infer<typeof AddedToken>

const Stage = z.looseObject({ type: z.string() })
export type Stage = z.infer<typeof Stage>

export const TokenizerFile = z.looseObject({
  added_tokens: z.array(AddedToken),
  normalizer: Stage.nullish(),
  pre_tokenizer: Stage.nullish(),
  post_processor: Stage.nullish(),
  decoder: Stage,
  model: z.looseObject({ type: z.literal('BPE', { error: 'only BPE tokenizers are supported' }) }),
})
export type TokenizerFile = z.infer<typeof TokenizerFile>

/** A stage, or those of a `Sequence` of stages (`pretokenizers`, `decoders`), in order. */
export function flattenStages(stage: Stage | null | undefined, inner: 'pretokenizers' | 'decoders'): Stage[] {
  if (stage === null || stage === undefined) return []
  if (stage.type !== 'Sequence') return [stage]
  return z
    .array(Stage)
    .parse(stage[inner])
    .flatMap((nested) => flattenStages(nested, inner))
}
