import { z } from 'zod'
import { toOneBeyond } from './long-input.ts'
import { Page, pageQuery } from './paging.ts'
import {
  idleParameters,
  MaxTokens,
  ModelName,
  onlyAt,
  onlyAtDefault,
  orAbsent,
  samplingParameters,
  Text,
  wholeBetween,
  withDefault,
} from './parameters.ts'
import { TextFormat } from './structure.ts'
import { functionFields, maxTools } from './tools.ts'

/** `/v1/responses`, as OpenAI and Open Responses have it. */

const ignored = z.unknown().optional()

const TextPart = z.strictObject({
  type: z.enum(['input_text', 'output_text', 'text'], {
    error: 'must be input_text or output_text; images, audio and files are not supported',
  }),
  text: Text,
  annotations: ignored,
  logprobs: ignored,
})

const Content = z
  .union([Text, z.array(TextPart).min(1).max(1024)], { error: 'must be a string or an array of text parts' })
  .transform((content) => (typeof content === 'string' ? content : content.map(({ text }) => text).join('')))

/** A message of a conversation. The output of an earlier response may be sent back as it is. */
const MessageItem = z.strictObject({
  type: z
    .literal('message', {
      error:
        'must be message, function_call or function_call_output; reasoning and references are not supported',
    })
    .optional()
    .transform(() => 'message' as const),
  role: z.enum(['system', 'developer', 'user', 'assistant']),
  content: Content,
  id: ignored,
  status: ignored,
  phase: ignored,
})

/** A call that an earlier response put out. */
const FunctionCallItem = z.strictObject({
  type: z.literal('function_call'),
  call_id: Text.min(1).max(256),
  name: Text.min(1).max(256),
  arguments: Text,
  id: ignored,
  status: ignored,
  namespace: ignored,
})

const FunctionOutputItem = z.strictObject({
  type: z.literal('function_call_output'),
  call_id: Text.min(1).max(256),
  output: Content,
  id: ignored,
  status: ignored,
})

const Item = z.union([MessageItem, FunctionCallItem, FunctionOutputItem])
export type Item = z.infer<typeof Item>

const Input = z.union([Text, z.array(Item).min(1, 'must hold at least one item').max(4096)], {
  error: 'must be a string or an array of items',
})

const Metadata = z
  .record(z.string().max(64), z.string().max(512))
  .refine((entries) => Object.keys(entries).length <= 16, 'has more than 16 entries')

const TextParameters = z.strictObject({
  format: orAbsent(TextFormat),
  verbosity: orAbsent(Text.max(512)),
})

const FunctionTool = z.strictObject({
  type: z.literal('function', { error: 'must be "function"; there are no other tools' }),
  ...functionFields,
})

const ToolChoiceParameter = z.union(
  [
    z.enum(['none', 'auto', 'required']),
    z.strictObject({ type: z.literal('function'), name: z.string().max(128) }),
  ],
  { error: 'must be none, auto, required or {"type": "function", "name": …}' },
)

/** `POST /v1/responses`. */
export const ResponsesRequest = z.strictObject({
  model: ModelName,
  input: Input.meta({ description: 'What is asked: text, or messages.' }),
  instructions: orAbsent(Text).meta({
    description: 'A system message in front of all; not kept for the responses that follow.',
  }),
  max_output_tokens: orAbsent(MaxTokens),
  previous_response_id: orAbsent(z.string().max(128)).meta({
    description: 'A stored response, whose conversation goes in front of the input.',
  }),
  truncation: withDefault(
    z.enum(['auto', 'disabled']),
    'disabled',
    'What to do with a conversation beyond the context: refuse it, or leave its oldest messages out.',
  ),
  ...samplingParameters,
  n: onlyAtDefault(1),
  ...idleParameters,
  store: withDefault(z.boolean(), true, 'Keeps the response and its conversation for 30 days.'),
  metadata: withDefault(toOneBeyond(16, Metadata), {}),
  stream: withDefault(z.boolean(), false, 'Answer with server-sent events.'),
  stream_options: orAbsent(z.strictObject({ include_obfuscation: onlyAtDefault(false) })),
  text: orAbsent(TextParameters),
  top_logprobs: orAbsent(wholeBetween(0, 20)).meta({
    description: 'Alternatives to tell with each token; needs `include` with `message.output_text.logprobs`.',
  }),
  include: orAbsent(z.array(z.string().max(128)).max(16)),
  tools: withDefault(
    z.array(FunctionTool).max(maxTools, `must hold at most ${maxTools} tools`),
    [],
    'Functions that the model may ask its client to call.',
  ),
  tool_choice: withDefault(ToolChoiceParameter, 'auto'),
  parallel_tool_calls: withDefault(z.boolean(), true),
  max_tool_calls: onlyAtDefault(),
  background: onlyAt({ defaults: [false], instead: 'wait for the answer, or stream it' }),
  conversation: onlyAt({ defaults: [], instead: 'use previous_response_id' }),
  prompt: onlyAt({ defaults: [], instead: 'send the text itself' }),
  context_management: onlyAt({ defaults: [[]], instead: 'use truncation' }),
  reasoning: orAbsent(z.record(z.string(), z.unknown())).meta({
    description: 'Accepted, without an effect.',
  }),
})
export type ResponsesRequest = z.infer<typeof ResponsesRequest>

const Status = z.enum(['in_progress', 'completed', 'incomplete', 'failed'])

const TokenLogprob = z.object({ token: z.string(), logprob: z.number(), bytes: z.array(z.int()) })
const OutputText = z.object({
  type: z.literal('output_text'),
  text: z.string(),
  annotations: z.array(z.never()),
  logprobs: z.array(TokenLogprob.extend({ top_logprobs: z.array(TokenLogprob) })),
})
export type OutputText = z.infer<typeof OutputText>

const OutputMessage = z.object({
  id: z.string(),
  type: z.literal('message'),
  status: Status,
  role: z.literal('assistant'),
  content: z.array(OutputText),
})
export type OutputMessage = z.infer<typeof OutputMessage>

const OutputCall = z.object({
  id: z.string(),
  type: z.literal('function_call'),
  status: Status,
  call_id: z.string(),
  name: z.string(),
  arguments: z.string(),
})
export type OutputCall = z.infer<typeof OutputCall>

const ResponsesUsage = z.object({
  input_tokens: z.int(),
  input_tokens_details: z.object({ cached_tokens: z.int() }),
  output_tokens: z.int(),
  output_tokens_details: z.object({ reasoning_tokens: z.int() }),
  total_tokens: z.int(),
})

export const ResponseObject = z.object({
  id: z.string(),
  object: z.literal('response'),
  created_at: z.int(),
  completed_at: z.int().nullable(),
  status: Status,
  background: z.literal(false),
  error: z.object({ code: z.string(), message: z.string() }).nullable(),
  incomplete_details: z.object({ reason: z.literal('max_output_tokens') }).nullable(),
  instructions: z.string().nullable(),
  max_output_tokens: z.int().nullable(),
  max_tool_calls: z.null(),
  metadata: z.record(z.string(), z.string()),
  model: z.string(),
  output: z.array(z.union([OutputMessage, OutputCall])),
  parallel_tool_calls: z.boolean(),
  previous_response_id: z.string().nullable(),
  prompt_cache_key: z.string().nullable(),
  reasoning: z.object({ effort: z.null(), summary: z.null() }),
  safety_identifier: z.string().nullable(),
  service_tier: z.literal('default'),
  store: z.boolean(),
  temperature: z.number(),
  top_p: z.number(),
  frequency_penalty: z.number(),
  presence_penalty: z.number(),
  text: z.object({ format: z.looseObject({ type: z.enum(['text', 'json_object', 'json_schema']) }) }),
  tool_choice: z.union([
    z.enum(['none', 'auto', 'required']),
    z.object({ type: z.literal('function'), name: z.string() }),
  ]),
  tools: z.array(
    z.object({
      type: z.literal('function'),
      name: z.string(),
      description: z.string().nullable(),
      parameters: z.record(z.string(), z.unknown()).nullable(),
      strict: z.boolean(),
    }),
  ),
  top_logprobs: z.int(),
  truncation: z.enum(['auto', 'disabled']),
  usage: ResponsesUsage.nullable(),
  user: z.string().nullable(),
})
export type ResponseObject = z.infer<typeof ResponseObject>

/** One event of a stream. `sequence_number` counts from 0. */
export const ResponseEvent = z.looseObject({ type: z.string(), sequence_number: z.int() })
export type ResponseEvent = z.infer<typeof ResponseEvent>

/** A message of the request, as `input_items` lists it. */
const InputMessage = z.object({
  id: z.string(),
  type: z.literal('message'),
  status: z.literal('completed'),
  role: z.enum(['system', 'developer', 'user', 'assistant']),
  content: z.array(z.object({ type: z.enum(['input_text', 'output_text']), text: z.string() })),
})
const InputCall = OutputCall.extend({ status: z.literal('completed') })
const InputCallOutput = z.object({
  id: z.string(),
  type: z.literal('function_call_output'),
  status: z.literal('completed'),
  call_id: z.string(),
  output: z.string(),
})
export const InputItem = z.union([InputMessage, InputCall, InputCallOutput])
export type InputItem = z.infer<typeof InputItem>
export const InputItemList = Page(InputItem)

export const InputItemsQuery = z.object({
  ...pageQuery({ usual: 20, most: 100 }),
  order: z.enum(['asc', 'desc']).default('desc'),
})

export const DeletedResponse = z.object({
  id: z.string(),
  object: z.literal('response'),
  deleted: z.literal(true),
})
