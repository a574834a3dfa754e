import { z } from 'zod'
import {
  idleParameters,
  MaxTokens,
  Model,
  maxStopLength,
  maxStopStrings,
  onlyAt,
  onlyAtDefault,
  orAbsent,
  samplingParameters,
  Text,
  withDefault,
} from './parameters.ts'

/** `/v1/messages`, as Anthropic has it. */

const ignored = z.unknown().optional()

const TextBlock = z.strictObject({
  type: z.literal('text', { error: 'must be "text"; images, documents and tools are not supported' }),
  text: Text,
  cache_control: ignored,
  citations: ignored,
})

const Content = z
  .union([Text, z.array(TextBlock).min(1).max(1024)], {
    error: 'must be a string or an array of text blocks',
  })
  .transform((content) => (typeof content === 'string' ? content : content.map(({ text }) => text).join('')))

const InputMessage = z.strictObject({
  role: z.enum(['user', 'assistant'], {
    error: 'must be user or assistant; a system prompt goes into system',
  }),
  content: Content,
})

const conversation = {
  model: Model,
  messages: z.array(InputMessage).min(1, 'must hold at least one message').max(4096).meta({
    description: 'The last one may be the beginning of the answer, by the assistant.',
  }),
  system: orAbsent(Content),
  tools: onlyAtDefault([]),
  tool_choice: onlyAtDefault({ type: 'none' }, { type: 'auto' }),
  thinking: onlyAtDefault({ type: 'disabled' }),
  cache_control: ignored,
}

/** `POST /v1/messages`. */
export const MessagesRequest = z.strictObject({
  ...samplingParameters,
  ...idleParameters,
  ...conversation,
  n: onlyAtDefault(1),
  stop: onlyAt({ defaults: [[]], instead: 'use stop_sequences' }),
  max_tokens: MaxTokens,
  stop_sequences: withDefault(
    z
      .array(Text.min(1, 'a stop sequence cannot be empty').max(maxStopLength))
      .max(maxStopStrings, `must hold at most ${maxStopStrings} stop sequences`),
    [],
  ),
  stream: withDefault(z.boolean(), false, 'Answer with server-sent events.'),
  metadata: orAbsent(z.looseObject({ user_id: orAbsent(Text.max(512)) })),
  container: onlyAtDefault(),
  mcp_servers: onlyAtDefault([]),
  context_management: onlyAtDefault(),
  output_config: onlyAtDefault({}),
})
export type MessagesRequest = z.infer<typeof MessagesRequest>

/** `POST /v1/messages/count_tokens`. */
export const CountTokensRequest = z.strictObject({ ...conversation, user: orAbsent(Text.max(512)) })
export type CountTokensRequest = z.infer<typeof CountTokensRequest>

export const TokenCount = z.object({ input_tokens: z.int() })

const MessagesUsage = z.object({
  input_tokens: z.int(),
  cache_creation_input_tokens: z.int(),
  cache_read_input_tokens: z.int(),
  output_tokens: z.int(),
})
export type MessagesUsage = z.infer<typeof MessagesUsage>

export const StopReason = z.enum(['end_turn', 'max_tokens', 'stop_sequence'])
export type StopReason = z.infer<typeof StopReason>

export const MessageObject = z.object({
  id: z.string(),
  type: z.literal('message'),
  role: z.literal('assistant'),
  model: z.string(),
  content: z.array(z.object({ type: z.literal('text'), text: z.string() })),
  stop_reason: StopReason.nullable(),
  stop_sequence: z.string().nullable(),
  usage: MessagesUsage,
})
export type MessageObject = z.infer<typeof MessageObject>

/** One event of a stream, named by its `type`. */
export const MessageEvent = z.looseObject({ type: z.string() })
export type MessageEvent = z.infer<typeof MessageEvent>
