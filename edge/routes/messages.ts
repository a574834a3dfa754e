import type { Context } from 'hono'
import type { CountTokensRequest, MessagesRequest } from '../../shared/api/messages.ts'
import type { Turn } from '../../shared/tokenizer/conversation.ts'
import type { TenantApp } from '../request-context.ts'
import { grammarOfSchema } from '../structure/grammar.ts'
import type { ModelWithCodec } from '../tenants/load-codec.ts'
import { ownForm } from '../tenants/own-form.ts'
import { messageTurns } from '../tools/message-turns.ts'
import { type AskedTools, type Constraint, ToolUse } from '../tools/tool-use.ts'
import { answer } from './answer.ts'
import { encodeConversation } from './encode-conversation.ts'
import { encodePrompts } from './encode-prompts.ts'
import { checkContext } from './fit-context.ts'
import type { Generation } from './generation.ts'
import { messagePresentation } from './message-presentation.ts'
import { stopTokensOf, toSampling } from './sampling.ts'

/** `POST /v1/messages`. */
export async function createMessage(request: MessagesRequest, c: Context<TenantApp>): Promise<Response> {
  const generation = await toGeneration(request, c)
  const presentation = messagePresentation({ request, generation, requestId: c.get('requestId') })
  return answer({ generation, presentation, request: { ...request, stream_options: undefined } }, c)
}

/** `POST /v1/messages/count_tokens`: the prompt's tokens as the model would read them. Charges nothing. */
export async function countTokens(request: CountTokensRequest, c: Context<TenantApp>): Promise<Response> {
  const { prompts } = await encoded(request, c)
  return c.json({ input_tokens: prompts[0]?.length ?? 0 })
}

async function toGeneration(
  request: MessagesRequest,
  c: Context<TenantApp>,
): Promise<Generation & { readonly toolUse: ToolUse }> {
  const open = await encoded(
    { ...request, user: request.metadata?.user_id ?? request.user, param: 'messages' },
    c,
    (toolUse, { model }) => {
      const format = request.output_config?.format
      const form = grammarOfSchema(format?.schema, {
        param: 'output_config.format.schema',
        minTokens: request.min_tokens,
        own: () => ownForm([model], 'output_config.format'),
      })
      return toolUse.constraint(form, { minTokens: request.min_tokens })
    },
  )
  const { codec, constraint, model, prompts, toolUse } = open
  return {
    ...open,
    n: 1,
    maxTokens: checkContext(prompts, {
      model,
      requested: request.max_tokens,
      cap: request.max_tokens,
      param: 'messages',
      limitParam: 'max_tokens',
    }),
    sampling: toSampling(request, codec),
    ownPriority: request.priority,
    stops: request.stop_sequences,
    stopTokens: stopTokensOf(
      { ignoreEos: request.ignore_eos, ids: request.stop_token_ids, strings: request.stop_sequences },
      open,
    ),
    ...constraint,
    grammarParam:
      request.output_config?.format !== undefined
        ? 'output_config.format.schema'
        : request.tools.length > 0
          ? 'tools'
          : 'model',
    shownTokens: toolUse.shownTokens,
    logprobs: null,
  }
}

type Conversation = Pick<
  CountTokensRequest,
  'model' | 'messages' | 'system' | 'tools' | 'tool_choice' | 'user'
> & {
  /** Absent where the tokens are only counted. */
  readonly param?: 'messages'
}

const unconstrained: Constraint = { grammar: undefined, grammarAfter: undefined }

function encoded(
  request: Conversation,
  c: Context<TenantApp>,
  constrain: (toolUse: ToolUse, open: ModelWithCodec) => Constraint = () => unconstrained,
) {
  const { messages, system = '' } = request
  // An empty one is none: it would keep the template's own prompt out.
  const turns: readonly Turn[] = [
    ...(system === '' ? [] : [{ role: 'system' as const, content: system }]),
    ...messageTurns(messages),
  ]
  return encodePrompts(request, c, (open) => {
    const toolUse = new ToolUse(askedTools(request), open)
    const constraint = constrain(toolUse, open)
    const prompt = encodeConversation(turns, {
      ...open,
      // A last message of the assistant is the beginning of the answer, as at Anthropic.
      end: messages.at(-1)?.role === 'assistant' ? 'within' : 'answer',
      tools: toolUse.shown,
    })
    return { prompts: [prompt], toolUse, constraint }
  })
}

function askedTools({ tool_choice: choice, tools }: Conversation): AskedTools {
  return {
    functions: tools.map(({ description, input_schema, name, strict }) => ({
      name,
      description,
      parameters: input_schema,
      strict,
    })),
    choice: choice?.type === 'any' ? 'required' : choice?.type === 'tool' ? choice : (choice?.type ?? 'auto'),
    isParallel: choice?.type === 'none' || choice?.disable_parallel_tool_use !== true,
    places: {
      name: (index) => `tools[${index}].name`,
      schema: (index) => `tools[${index}].input_schema`,
      strict: (index) => `tools[${index}].strict`,
      choice: 'tool_choice',
    },
  }
}
