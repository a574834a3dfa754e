import { z } from 'zod'
import { FinishReason, maxTopLogprobs } from '../wire.ts'
import {
  CompletionUsage,
  idleParameters,
  ModelName,
  maxChoices,
  maxChoicesInAll,
  onlyAt,
  orAbsent,
  samplingParameters,
  streamOptionsNeedStream,
  streamParameters,
  wholeBetween,
  withDefault,
} from './parameters.ts'
import { promptsUpTo } from './prompts.ts'
import { structureParameters } from './structure.ts'

const atLeastNone = 'must be a whole number, at least 0'

/** Prompts of one request; each is answered by `n` choices, in order. */
const maxPrompts = 128

/** `POST /v1/completions`. */
export const CompletionRequest = z
  .strictObject({
    model: ModelName,
    prompt: promptsUpTo(maxPrompts),
    max_tokens: withDefault(
      z.int(atLeastNone).min(0, atLeastNone),
      16,
      '0 generates nothing: with `echo` or `prompt_logprobs`, which tell of the prompt.',
    ),
    logprobs: orAbsent(wholeBetween(0, maxTopLogprobs)),
    ...samplingParameters,
    ...streamParameters,
    ...idleParameters,
    ...structureParameters,
    echo: withDefault(
      z.boolean(),
      false,
      'The prompt stands in front of the text; with `logprobs` so do its tokens, the first one with null.',
    ),
    best_of: orAbsent(wholeBetween(1, maxChoices)).meta({
      description: 'So many choices are generated, and counted; the `n` likeliest per token are answered.',
    }),
    prompt_logprobs: orAbsent(wholeBetween(0, maxTopLogprobs)).meta({
      description:
        'Extension, as vLLM has it: log-probabilities of each token of the prompt with so many alternatives.',
    }),
    suffix: onlyAt({ defaults: [''], instead: 'write the prompt so that it says what follows' }),
    add_special_tokens: onlyAt({ defaults: [true], instead: 'give the prompt as token ids' }),
  })
  .refine(streamOptionsNeedStream.check, streamOptionsNeedStream.detail)
  .refine(
    ({ echo, max_tokens, prompt_logprobs }) => max_tokens > 0 || echo || prompt_logprobs !== undefined,
    { path: ['max_tokens'], error: 'is 0, which needs echo or prompt_logprobs; ask for at least 1 token' },
  )
  .refine(({ best_of, n }) => best_of === undefined || best_of >= n, {
    path: ['best_of'],
    error: 'is less than n, which are chosen among them',
  })
  .refine(({ best_of, n, stream }) => !stream || best_of === undefined || best_of === n, {
    path: ['best_of'],
    error: 'does not go with stream, as the best are known at the end; remove one of them',
  })
  .refine(({ prompt_logprobs, stream }) => !stream || prompt_logprobs === undefined, {
    path: ['prompt_logprobs'],
    error: 'does not go with stream; use echo and logprobs, or remove one of them',
  })
  .refine(({ best_of, n, prompt }) => (best_of ?? n) * prompt.length <= maxChoicesInAll, {
    path: ['n'],
    error: `gives more than ${maxChoicesInAll} choices for all prompts together; send several requests`,
  })
export type CompletionRequest = z.infer<typeof CompletionRequest>

const Logprobs = z
  .object({
    /** A token's text; one that is no UTF-8 on its own is written `bytes:\xNN…`. */
    tokens: z.array(z.string()),
    /** The first token of an echoed prompt has null, as no token stands in front of it. */
    token_logprobs: z.array(z.number().nullable()),
    /** The likeliest tokens and the chosen one; null when none was asked for. */
    top_logprobs: z.array(z.record(z.string(), z.number()).nullable()).nullable(),
    /** Where each token starts, in code points of the text. */
    text_offset: z.array(z.int()),
  })
  .nullable()
export type CompletionLogprobs = z.infer<typeof Logprobs>

const PromptLogprob = z.object({
  logprob: z.number(),
  /** 1 for the likeliest token. */
  rank: z.int(),
  decoded_token: z.string(),
})

/** Log-probabilities for each token of the prompt, by id: its own and those of the likeliest; null for the first token. */
const PromptLogprobs = z.array(z.record(z.string(), PromptLogprob).nullable())
export type PromptLogprobs = z.infer<typeof PromptLogprobs>

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
      /** Only where the request asks for them. */
      prompt_logprobs: PromptLogprobs.optional(),
    }),
  ),
  usage: CompletionUsage.nullable().optional(),
})
export type Completion = z.infer<typeof Completion>
