import { z } from 'zod'
import { FinishReason } from '../wire.ts'
import { toOneBeyond } from './long-input.ts'
import { mayBeSame } from './model-names.ts'
import {
  CompletionUsage,
  idleParameters,
  MaxTokens,
  ModelName,
  maxChoices,
  onlyAt,
  onlyAtDefault,
  orAbsent,
  samplingParameters,
  streamOptionsNeedStream,
  streamParameters,
  Text,
  wholeBetween,
  withDefault,
} from './parameters.ts'
import { structureParameters } from './structure.ts'
import { AnsweredCall, CallPiece, HistoryCall, ToolChoiceParameter, Tools } from './tools.ts'

/** Accepted with any value and left out. */
const ignored = z.unknown().optional()

const TextPart = z.strictObject({
  type: z.literal('text', { error: 'must be "text"; images, audio and files are not supported' }),
  text: Text,
  cache_control: ignored,
})

const Content = z
  .union([Text, z.array(TextPart).min(1).max(1024)], { error: 'must be a string or an array of text parts' })
  .transform((content) => (typeof content === 'string' ? content : content.map((part) => part.text).join('')))

const spoken = {
  content: Content,
  name: orAbsent(Text.max(256)),
  tool_calls: onlyAtDefault([]),
  cache_control: ignored,
}

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
      function_call: onlyAtDefault(),
      /** The assistant's thoughts, for templates that show them. */
      reasoning_content: Text.nullish(),
    }),
  ],
  {
    error:
      'a message has the role system, developer, user or assistant; tools and functions are not supported',
  },
)
export type ChatMessage = z.infer<typeof ChatMessage>

const [SystemMessage, DeveloperMessage, UserMessage, AssistantMessage] = ChatMessage.options

const AssistantTurn = z.strictObject({
  ...AssistantMessage.shape,
  content: orAbsent(Content),
  tool_calls: withDefault(z.array(HistoryCall).max(128), []),
})

const ToolMessage = z.strictObject({
  role: z.literal('tool'),
  tool_call_id: Text.min(1).max(256),
  content: Content,
  name: orAbsent(Text.max(256)),
  cache_control: ignored,
})

/** A message of a conversation in which functions may be called. */
const RequestMessage = z
  .discriminatedUnion('role', [SystemMessage, DeveloperMessage, UserMessage, AssistantTurn, ToolMessage], {
    error: 'a message has the role system, developer, user, assistant or tool',
  })
  .refine(
    (message) =>
      message.role !== 'assistant' || message.content !== undefined || message.tool_calls.length > 0,
    { path: ['content'], error: 'is required where there are no tool_calls' },
  )
export type RequestMessage = z.infer<typeof RequestMessage>

const TemplateValue = z.union([z.boolean(), z.number(), Text.max(1024)], {
  error: 'must be true, false, a number or a string',
})

const maxTemplateSettings = 64

/** The parameters that make a conversation's prompt. */
export const chatPromptParameters = {
  messages: z.array(RequestMessage).min(1, 'must hold at least one message').max(4096),
  tools: withDefault(Tools, [], 'Functions that the model may ask its client to call.'),
  tool_choice: orAbsent(ToolChoiceParameter).meta({
    description: '`auto` where there are tools; `required` or a named function make the answer a call.',
  }),
  parallel_tool_calls: withDefault(z.boolean(), true, 'Whether an answer may hold several calls.'),
  chat_template_kwargs: withDefault(
    toOneBeyond(
      maxTemplateSettings,
      z
        .record(z.string().regex(/^[A-Za-z_][A-Za-z0-9_]{0,63}$/, 'must be a name'), TemplateValue)
        .refine(
          (settings) => Object.keys(settings).length <= maxTemplateSettings,
          `has more than ${maxTemplateSettings} entries`,
        ),
    ),
    {},
    'Extension: what the chat template may ask for, such as `enable_thinking`.',
  ),
  add_generation_prompt: orAbsent(z.boolean()).meta({
    description:
      'Extension: whether the prompt ends where an answer begins; true unless `continue_final_message` is.',
  }),
  continue_final_message: withDefault(
    z.boolean(),
    false,
    'Extension: the last message is the beginning of the answer, which has what follows.',
  ),
}

/** `POST /v1/chat/completions`. */
export const ChatCompletionRequest = z
  .strictObject({
    model: orAbsent(ModelName),
    models: orAbsent(z.array(ModelName).min(1).max(maxChoices)).meta({
      description:
        'Extension, instead of `model`: aliases of late adapters that answer the same conversation, each with a choice that carries its name, on one prefill.',
    }),
    ...chatPromptParameters,
    max_tokens: orAbsent(MaxTokens),
    max_completion_tokens: orAbsent(MaxTokens),
    logprobs: withDefault(z.boolean(), false),
    top_logprobs: orAbsent(wholeBetween(0, 20)),
    ...samplingParameters,
    ...streamParameters,
    ...structureParameters,
    functions: onlyAt({ defaults: [[]], instead: 'use tools' }),
    chat_template: onlyAt({ defaults: [], instead: "the backbone's own is used" }),
    add_special_tokens: onlyAtDefault(false),
    documents: onlyAt({ defaults: [[]], instead: 'write them into a message' }),
    function_call: onlyAt({ defaults: ['none', 'auto'], instead: 'use tool_choice' }),
    modalities: onlyAtDefault(['text']),
    audio: onlyAtDefault(),
    prediction: onlyAtDefault(),
    web_search_options: onlyAtDefault(),
    ...idleParameters,
  })
  .refine(({ model, models }) => model !== undefined || models !== undefined, {
    path: ['model'],
    error: 'is missing; name an alias or the backbone',
  })
  .refine(({ model, models }) => model === undefined || models === undefined, {
    path: ['models'],
    error: 'does not go with model; give one of them',
  })
  .refine(({ models = [], n }) => models.length === 0 || n === 1, {
    path: ['n'],
    error: 'does not go with models, each of which answers once',
  })
  .superRefine(({ models = [] }, context) => {
    const twice = models.findIndex((model, at) =>
      models.slice(0, at).some((earlier) => mayBeSame(earlier, model)),
    )
    if (twice !== -1)
      context.addIssue({
        code: 'custom',
        path: ['models', twice],
        message: `${JSON.stringify(models[twice])} stands there twice, by itself or by a side of its canary; name it once`,
      })
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
  .refine((request) => !(request.continue_final_message && request.add_generation_prompt === true), {
    path: ['continue_final_message'],
    error: 'does not go with add_generation_prompt; set that to false',
  })
  .refine(streamOptionsNeedStream.check, streamOptionsNeedStream.detail)
  .meta({ anyOf: [{ required: ['model'] }, { required: ['models'] }] })
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

const ChatFinishReason = z.enum([...FinishReason.options, 'tool_calls'])

const head = { id: z.string(), created: z.int(), model: z.string(), system_fingerprint: z.string() }

export const ChatCompletion = z.object({
  ...head,
  object: z.literal('chat.completion'),
  choices: z.array(
    z.object({
      index: z.int(),
      /** The model that answers, in a request with `models`. */
      model: z.string().optional(),
      message: z.object({
        role: z.literal('assistant'),
        /** Null when the message holds only calls. */
        content: z.string().nullable(),
        refusal: z.null(),
        tool_calls: z.array(AnsweredCall).optional(),
      }),
      logprobs: Logprobs,
      finish_reason: ChatFinishReason,
    }),
  ),
  usage: CompletionUsage,
})
export type ChatCompletion = z.infer<typeof ChatCompletion>

export const ChatCompletionChunk = z.object({
  ...head,
  object: z.literal('chat.completion.chunk'),
  choices: z.array(
    z.object({
      index: z.int(),
      /** The same as in a whole answer. */
      model: z.string().optional(),
      delta: z.object({
        role: z.literal('assistant').optional(),
        content: z.string().optional(),
        tool_calls: z.array(CallPiece).optional(),
      }),
      logprobs: Logprobs,
      finish_reason: ChatFinishReason.nullable(),
    }),
  ),
  /**
   * With `include_usage`, the last chunk has the usage and no choices, and all others have null. With
   * `continuous_usage_stats`, each chunk has the usage so far.
   */
  usage: CompletionUsage.nullable().optional(),
})
export type ChatCompletionChunk = z.infer<typeof ChatCompletionChunk>
