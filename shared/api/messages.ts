import { z } from 'zod'
import {
  idleParameters,
  MaxTokens,
  ModelName,
  maxStopLength,
  maxStopStrings,
  onlyAt,
  onlyAtDefault,
  orAbsent,
  samplingParameters,
  Text,
  withDefault,
} from './parameters.ts'
import { FunctionName, maxTools } from './tools.ts'

/** `/v1/messages`, as Anthropic has it. */

const ignored = z.unknown().optional()

const TextBlock = z.strictObject({
  type: z.literal('text'),
  text: Text,
  cache_control: ignored,
  citations: ignored,
})

const joinedText = (blocks: readonly { readonly text: string }[]): string =>
  blocks.map(({ text }) => text).join('')

const PlainContent = z
  .union([Text, z.array(TextBlock).max(1024)], { error: 'must be a string or an array of text blocks' })
  .transform((content) => (typeof content === 'string' ? content : joinedText(content)))

const ToolUseBlock = z.strictObject({
  type: z.literal('tool_use'),
  id: Text.min(1).max(256),
  name: Text.min(1).max(256),
  input: z.record(z.string(), z.unknown(), { error: 'must be an object' }),
  cache_control: ignored,
  caller: ignored,
})

const ToolResultBlock = z.strictObject({
  type: z.literal('tool_result'),
  tool_use_id: Text.min(1).max(256),
  content: withDefault(PlainContent, ''),
  is_error: withDefault(z.boolean(), false),
  cache_control: ignored,
})

const blocksOf = <B extends z.ZodType<{ readonly type: string }>>(block: B) =>
  z
    .union([Text, z.array(block).min(1).max(1024)], { error: 'must be a string or an array of blocks' })
    .transform((content) =>
      typeof content === 'string' ? [{ type: 'text' as const, text: content }] : content,
    )

const InputMessage = z.discriminatedUnion(
  'role',
  [
    z.strictObject({
      role: z.literal('user'),
      content: blocksOf(
        z.discriminatedUnion('type', [TextBlock, ToolResultBlock], {
          error: 'must be text or tool_result; images and documents are not supported',
        }),
      ),
    }),
    z.strictObject({
      role: z.literal('assistant'),
      content: blocksOf(
        z.discriminatedUnion('type', [TextBlock, ToolUseBlock], {
          error: 'must be text or tool_use; thinking is not supported',
        }),
      ),
    }),
  ],
  { error: 'must be user or assistant; a system prompt goes into system' },
)
export type InputMessage = z.infer<typeof InputMessage>

const CustomTool = z.strictObject({
  type: withDefault(
    z.literal('custom', { error: 'must be "custom"; there are no other tools, so describe it as one' }),
    'custom',
  ),
  name: FunctionName,
  description: orAbsent(Text.max(16 * 1024)),
  input_schema: z.record(z.string(), z.unknown(), { error: 'must be a JSON schema of an object' }),
  strict: withDefault(z.boolean(), false),
  cache_control: ignored,
})

const ToolChoice = z.discriminatedUnion(
  'type',
  [
    z.strictObject({ type: z.literal('auto'), disable_parallel_tool_use: orAbsent(z.boolean()) }),
    z.strictObject({ type: z.literal('any'), disable_parallel_tool_use: orAbsent(z.boolean()) }),
    z.strictObject({
      type: z.literal('tool'),
      name: z.string().max(256),
      disable_parallel_tool_use: orAbsent(z.boolean()),
    }),
    z.strictObject({ type: z.literal('none') }),
  ],
  { error: 'must have the type auto, any, tool or none' },
)

const OutputConfig = z.strictObject({
  format: orAbsent(
    z.strictObject({
      type: z.literal('json_schema'),
      schema: z.record(z.string(), z.unknown(), { error: 'must be a JSON schema: an object' }),
    }),
  ),
  effort: orAbsent(Text.max(64)),
})

const conversation = {
  model: ModelName,
  messages: z.array(InputMessage).min(1, 'must hold at least one message').max(4096).meta({
    description: 'The last one may be the beginning of the answer, by the assistant.',
  }),
  system: orAbsent(PlainContent),
  tools: withDefault(
    z.array(CustomTool).max(maxTools, `must hold at most ${maxTools} tools`),
    [],
    'Functions that the model may ask its client to call.',
  ),
  tool_choice: orAbsent(ToolChoice),
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
  output_config: orAbsent(OutputConfig).meta({ description: 'The form of the answer.' }),
})
export type MessagesRequest = z.infer<typeof MessagesRequest>

/** `POST /v1/messages/count_tokens`. */
export const CountTokensRequest = z.strictObject({ ...conversation, user: orAbsent(Text.max(512)) })
export type CountTokensRequest = z.infer<typeof CountTokensRequest>

export const MessagesTokenCount = z.object({ input_tokens: z.int() })

const MessagesUsage = z.object({
  input_tokens: z.int(),
  cache_creation_input_tokens: z.int(),
  cache_read_input_tokens: z.int(),
  output_tokens: z.int(),
})
export type MessagesUsage = z.infer<typeof MessagesUsage>

export const StopReason = z.enum(['end_turn', 'max_tokens', 'stop_sequence', 'tool_use'])
export type StopReason = z.infer<typeof StopReason>

export const MessageObject = z.object({
  id: z.string(),
  type: z.literal('message'),
  role: z.literal('assistant'),
  model: z.string(),
  content: z.array(
    z.union([
      z.object({ type: z.literal('text'), text: z.string() }),
      z.object({
        type: z.literal('tool_use'),
        id: z.string(),
        name: z.string(),
        input: z.record(z.string(), z.unknown()),
      }),
    ]),
  ),
  stop_reason: StopReason.nullable(),
  stop_sequence: z.string().nullable(),
  usage: MessagesUsage,
})
export type MessageObject = z.infer<typeof MessageObject>

/** One event of a stream, named by its `type`. */
export const MessageEvent = z.looseObject({ type: z.string() })
export type MessageEvent = z.infer<typeof MessageEvent>
