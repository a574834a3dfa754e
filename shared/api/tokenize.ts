import { z } from 'zod'
import { chatPromptParameters } from './chat-completions.ts'
import { cutAtMistake } from './long-input.ts'
import { ModelName, orAbsent, Text, withDefault } from './parameters.ts'
import { isTokenId } from './prompts.ts'

/** `/tokenize` and `/detokenize`, as vLLM has them. */

/** Where one backbone is served, as at vLLM, it may be left out. */
const OneModel = orAbsent(ModelName).meta({
  description: 'May be left out where the tenant’s models all have one backbone: its tokens are meant.',
})

const common = {
  model: OneModel,
  user: orAbsent(Text.max(512)),
  return_token_strs: withDefault(z.boolean(), false, 'Whether to tell the text of each token, too.'),
}

const OfText = z.strictObject({
  ...common,
  prompt: Text.meta({ description: 'A raw prompt, as `/v1/completions` takes it.' }),
  add_special_tokens: withDefault(
    z.boolean(),
    true,
    'Whether what the tokenizer puts around a text (a beginning-of-sequence token) is put.',
  ),
})

const OfMessages = z.strictObject({
  ...common,
  ...chatPromptParameters,
})

/** `POST /tokenize` takes a text or a conversation. */
export const TokenizeRequest = z.union([OfText, OfMessages], {
  error: 'has either prompt or messages',
})
export type TokenizeRequest = z.infer<typeof TokenizeRequest>

export const TokenizeAnswer = z.object({
  count: z.int(),
  max_model_len: z.int(),
  tokens: z.array(z.int()),
  token_strs: z.array(z.string()).nullable(),
})

/** `POST /detokenize`. */
export const DetokenizeRequest = z.strictObject({
  model: OneModel,
  user: orAbsent(Text.max(512)),
  tokens: z.preprocess(
    (given) => (Array.isArray(given) ? cutAtMistake(given, isTokenId) : given),
    z.array(z.int().min(0)).max(262_144),
  ),
})

export type DetokenizeRequest = z.infer<typeof DetokenizeRequest>

export const DetokenizeAnswer = z.object({ prompt: z.string() })

/** `GET /tokenizer_info` */
export const TokenizerInfoQuery = z.strictObject({ model: ModelName.optional() })
/** The part of a tokenizer's configuration that clients of vLLM read. */
export const TokenizerInfo = z.object({
  tokenizer_class: z.string(),
  /** The backbone whose tokenizer it is. */
  backbone: z.string(),
  vocab_size: z.int(),
  model_max_length: z.int(),
  /** Jinja source; null where the model has no chat template. */
  chat_template: z.string().nullable(),
  bos_token: z.string().nullable(),
  eos_token: z.string(),
})
export type TokenizerInfo = z.infer<typeof TokenizerInfo>
