import { z } from 'zod'
import {
  FinishReason,
  MaxTokens,
  Model,
  onlyAtDefault,
  orAbsent,
  samplingParameters,
  streamOptionsNeedStream,
  streamParameters,
  Text,
  Usage,
  wholeBetween,
  withDefault,
} from './parameters.ts'

const TextPart = z.strictObject({
  type: z.literal('text', { error: 'must be "text"; images, audio and files are not supported' }),
  text: Text,
})

const Content = z
  .union([Text, z.array(TextPart).min(1).max(1024)], { error: 'must be a string or an array of text parts' })
  .transform((content) => (typeof content === 'string' ? content : content.map((part) => part.text).join('')))

const spoken = { content: Content, name: orAbsent(Text.max(256)) }

export const ChatMessage = z.discriminatedUnion(
  'role',
  [
    z.strictObject({ role: z.literal('system'), ...spoken }),
    z.strictObject({ role: z.literal('developer'), ...spoken }),
    z.strictObject({ role: z.literal('user'), ...spoken }),
    z.strictObject({
      role: z.literal('assistant'),
      ...spoken,
      refusal: onlyAtDefault(),
      annotations: onlyAtDefault([]),
      audio: onlyAtDefault(),
      tool_calls: onlyAtDefault([]),
      function_call: onlyAtDefault(),
    }),
  ],
  {
    error:
      'a message has the role system, developer, user or assistant; tools and functions are not supported',
  },
)
export type ChatMessage = z.infer<typeof ChatMessage>

/** `POST /v1/chat/completions`. */
export const ChatCompletionRequest = z
  .strictObject({
    model: Model,
    messages: z.array(ChatMessage).min(1, 'must hold at least one message').max(4096),
    max_tokens: orAbsent(MaxTokens),
    max_completion_tokens: orAbsent(MaxTokens),
    logprobs: withDefault(z.boolean(), false),
    top_logprobs: orAbsent(wholeBetween(0, 20)),
    ...samplingParameters,
    ...streamParameters,
    response_format: onlyAtDefault({ type: 'text' }),
    tools: onlyAtDefault([]),
    tool_choice: onlyAtDefault('none', 'auto'),
    parallel_tool_calls: onlyAtDefault(true, false),
    functions: onlyAtDefault([]),
    function_call: onlyAtDefault('none', 'auto'),
    modalities: onlyAtDefault(['text']),
    audio: onlyAtDefault(),
    prediction: onlyAtDefault(),
    store: onlyAtDefault(false),
    metadata: onlyAtDefault({}),
    service_tier: onlyAtDefault('auto', 'default'),
    reasoning_effort: onlyAtDefault('none'),
    verbosity: onlyAtDefault(),
    web_search_options: onlyAtDefault(),
    safety_identifier: orAbsent(Text.max(512)),
    prompt_cache_key: orAbsent(Text.max(512)),
  })
  .refine((request) => request.logprobs || request.top_logprobs === undefined, {
    path: ['top_logprobs'],
    error: 'needs logprobs to be true',
  })
  .refine(
    ({ max_tokens, max_completion_tokens }) =>
      max_tokens === undefined || max_completion_tokens === undefined || max_tokens === max_completion_tokens,
    { path: ['max_tokens'], error: 'differs from max_completion_tokens; give one of them' },
  )
  .refine(streamOptionsNeedStream.check, streamOptionsNeedStream.detail)
export type ChatCompletionRequest = z.infer<typeof ChatCompletionRequest>

const TokenLogprob = z.object({
  /** The token's text; bytes that are no UTF-8 on their own are written `\xNN`. */
  token: z.string(),
  logprob: z.number(),
  bytes: z.array(z.int().min(0).max(255)),
})
const ContentLogprob = TokenLogprob.extend({ top_logprobs: z.array(TokenLogprob) })
export type ContentLogprob = z.infer<typeof ContentLogprob>

const Logprobs = z.object({ content: z.array(ContentLogprob), refusal: z.null() }).nullable()

const head = { id: z.string(), created: z.int(), model: z.string(), system_fingerprint: z.string() }

export const ChatCompletion = z.object({
  ...head,
  object: z.literal('chat.completion'),
  choices: z.array(
    z.object({
      index: z.int(),
      message: z.object({ role: z.literal('assistant'), content: z.string(), refusal: z.null() }),
      logprobs: Logprobs,
      finish_reason: FinishReason,
    }),
  ),
  usage: Usage,
})
export type ChatCompletion = z.infer<typeof ChatCompletion>

export const ChatCompletionChunk = z.object({
  ...head,
  object: z.literal('chat.completion.chunk'),
  choices: z.array(
    z.object({
      index: z.int(),
      delta: z.object({ role: z.literal('assistant').optional(), content: z.string().optional() }),
      logprobs: Logprobs,
      finish_reason: FinishReason.nullable(),
    }),
  ),
  /** With `include_usage`: null on every chunk but the last, which has no choices. */
  usage: Usage.nullable().optional(),
})
export type ChatCompletionChunk = z.infer<typeof ChatCompletionChunk>
