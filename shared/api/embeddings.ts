import { z } from 'zod'
import { idleParameters, ModelName, orAbsent, Text, withDefault } from './parameters.ts'
import { promptsUpTo } from './prompts.ts'

/** `/v1/embeddings`, as OpenAI has it. */

/** Texts of one request. */
const maxInputs = 2_048

export const EmbeddingsRequest = z.strictObject({
  model: ModelName,
  input: promptsUpTo(maxInputs),
  encoding_format: withDefault(
    z.enum(['float', 'base64'], { error: 'must be float or base64' }),
    'float',
    '`base64`: little-endian f32 numbers.',
  ),
  dimensions: orAbsent(z.int().min(1)).meta({
    description: 'Accepted at the number that the model’s embeddings have.',
  }),
  user: orAbsent(Text.max(512)),
  ...idleParameters,
})
export type EmbeddingsRequest = z.infer<typeof EmbeddingsRequest>

const Embedding = z.object({
  object: z.literal('embedding'),
  /** The place of its text in `input`. */
  index: z.int(),
  /** Numbers, or their base64. */
  embedding: z.union([z.array(z.number()), z.string()]),
})

export const EmbeddingList = z.object({
  object: z.literal('list'),
  data: z.array(Embedding),
  model: z.string(),
  usage: z.object({ prompt_tokens: z.int(), total_tokens: z.int() }),
})
export type EmbeddingList = z.infer<typeof EmbeddingList>
