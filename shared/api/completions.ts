import { z } from 'zod'
import {
  FinishReason,
  idleParameters,
  MaxTokens,
  Model,
  maxChoicesInAll,
  onlyAt,
  orAbsent,
  samplingParameters,
  streamOptionsNeedStream,
  streamParameters,
  Text,
  Usage,
  wholeBetween,
  withDefault,
} from './parameters.ts'

const TokenIds = z.array(z.int().min(0)).min(1, 'must hold at least one token id')

/** One prompt: text, in which special tokens are parsed as such, or token ids. */
const Prompt = z.union([Text, TokenIds], { error: 'must be a string or an array of token ids' })
export type Prompt = z.infer<typeof Prompt>

/** Prompts of one request; each is answered by `n` choices, in order. */
export const maxPrompts = 128

const Prompts = z
  .union(
    [Text, TokenIds, z.array(Prompt).min(1, 'must hold at least one prompt').meta({ maxItems: maxPrompts })],
    {
      error: `must be a string, an array of token ids, or an array of up to ${maxPrompts} of those`,
    },
  )
  .transform((prompts): Prompt[] => {
    if (typeof prompts === 'string') return [prompts]
    return isTokenIds(prompts) ? [prompts] : prompts
  })
  .refine((prompts) => prompts.length <= maxPrompts, {
    error: ({ input }) =>
      `holds ${Array.isArray(input) ? input.length : 'too many'} prompts; a request has at most ${maxPrompts}, so send several`,
  })

function isTokenIds(prompts: readonly Prompt[] | readonly number[]): prompts is number[] {
  return typeof prompts[0] === 'number'
}

/** `POST /v1/completions`. */
export const CompletionRequest = z
  .strictObject({
    model: Model,
    prompt: Prompts,
    max_tokens: withDefault(MaxTokens, 16),
    logprobs: orAbsent(wholeBetween(0, 5)),
    ...samplingParameters,
    ...streamParameters,
    ...idleParameters,
    echo: onlyAt({ defaults: [false], instead: 'put the prompt in front of the text yourself' }),
    suffix: onlyAt({ defaults: [''], instead: 'write the prompt so that it says what follows' }),
    add_special_tokens: onlyAt({ defaults: [true], instead: 'give the prompt as token ids' }),
  })
  .refine(streamOptionsNeedStream.check, streamOptionsNeedStream.detail)
  .refine(({ n, prompt }) => n * prompt.length <= maxChoicesInAll, {
    path: ['n'],
    error: `gives more than ${maxChoicesInAll} choices for all prompts together; send several requests`,
  })
export type CompletionRequest = z.infer<typeof CompletionRequest>

const Logprobs = z
  .object({
    /** A token's text; one that is no UTF-8 on its own is written `bytes:\xNN…`. */
    tokens: z.array(z.string()),
    token_logprobs: z.array(z.number()),
    /** The likeliest tokens and the chosen one; null when none was asked for. */
    top_logprobs: z.array(z.record(z.string(), z.number())).nullable(),
    /** Where each token starts, in code points of the text. */
    text_offset: z.array(z.int()),
  })
  .nullable()
export type CompletionLogprobs = z.infer<typeof Logprobs>

const head = { id: z.string(), created: z.int(), model: z.string(), system_fingerprint: z.string() }

/** The whole answer, and also each event of a stream, where `finish_reason` is null until the end. */
export const Completion = z.object({
  ...head,
  object: z.literal('text_completion'),
  choices: z.array(
    z.object({
      index: z.int(),
      text: z.string(),
      logprobs: Logprobs,
      finish_reason: FinishReason.nullable(),
    }),
  ),
  usage: Usage.nullable().optional(),
})
export type Completion = z.infer<typeof Completion>
