import type { Context } from 'hono'
import type {
  ChatCompletion,
  ChatCompletionChunk,
  ChatCompletionRequest,
} from '../../shared/api/chat-completions.ts'
import type { CallPiece } from '../../shared/api/tools.ts'
import type { PromptEnd } from '../../shared/tokenizer/chat-template.ts'
import type { FinishReason } from '../../shared/wire.ts'
import type { TenantApp } from '../request-context.ts'
import type { PlacedToken } from '../streaming/choice-text.ts'
import { contentLogprobs } from '../streaming/token-text.ts'
import { formParamOf, grammarOf } from '../structure/grammar.ts'
import { ownForm } from '../tenants/own-form.ts'
import { answered } from '../tools/answered.ts'
import type { AnswerPiece } from '../tools/call-pieces.ts'
import { chatTurns } from '../tools/chat-turns.ts'
import { type AskedTools, ToolUse } from '../tools/tool-use.ts'
import { answer, type Presentation } from './answer.ts'
import { encodeConversation } from './encode-conversation.ts'
import { askedOf, encodePrompts } from './encode-prompts.ts'
import { checkContext } from './fit-context.ts'
import type { Generation } from './generation.ts'
import { stopTokensOf, toSampling } from './sampling.ts'

/** Tokens generated at most when a request does not say how many: room in the KV cache is reserved for them. */
export const defaultChatTokens = 1024

type Delta = ChatCompletionChunk['choices'][number]['delta']

/** `POST /v1/chat/completions`. */
export async function chatCompletions(
  request: ChatCompletionRequest,
  c: Context<TenantApp>,
): Promise<Response> {
  const generation = await toGeneration(request, c)
  return answer({ generation, request, presentation: presentation(request, generation, c) }, c)
}

async function toGeneration(
  request: ChatCompletionRequest,
  c: Context<TenantApp>,
): Promise<Generation & { readonly toolUse: ToolUse }> {
  const turns = chatTurns(request.messages)
  const encoded = await encodePrompts({ ...request, param: 'messages' }, c, (open, answerers) => {
    const toolUse = new ToolUse(askedTools(request), open)
    const form = grammarOf(request, () => ownForm(answerers.map(({ model }) => model)))
    const constraint = toolUse.constraint(form, { minTokens: request.min_tokens })
    const prompt = encodeConversation(turns, {
      ...open,
      settings: request.chat_template_kwargs,
      end: promptEndOf(request),
      tools: toolUse.shown,
    })
    return { prompts: [prompt], toolUse, constraint }
  })
  const { codec, constraint, model, prompts, toolUse } = encoded
  return {
    ...encoded,
    n: request.n * encoded.answerers.length,
    maxTokens: checkContext(prompts, {
      model,
      requested: request.max_completion_tokens ?? request.max_tokens,
      cap: defaultChatTokens,
      param: 'messages',
      limitParam: request.max_completion_tokens === undefined ? 'max_tokens' : 'max_completion_tokens',
    }),
    sampling: toSampling(request, codec),
    ownPriority: request.priority,
    stops: request.stop,
    stopTokens: stopTokensOf(
      { ignoreEos: request.ignore_eos, ids: request.stop_token_ids, strings: request.stop },
      encoded,
    ),
    ...constraint,
    grammarParam: formParamOf(request) ?? (request.tools.length > 0 ? 'tools' : namesModels(request)),
    shownTokens: toolUse.shownTokens,
    logprobs: request.logprobs ? (request.top_logprobs ?? 0) : null,
  }
}

const namesModels = ({ models }: ChatCompletionRequest) => (models === undefined ? 'model' : 'models')

export function askedTools({
  parallel_tool_calls,
  tool_choice = 'auto',
  tools,
}: Pick<ChatCompletionRequest, 'parallel_tool_calls' | 'tool_choice' | 'tools'>): AskedTools {
  return {
    functions: tools.map((tool) => tool.function),
    choice: typeof tool_choice === 'string' ? tool_choice : tool_choice.function,
    isParallel: parallel_tool_calls,
    places: {
      name: (index) => `tools[${index}].function.name`,
      schema: (index) => `tools[${index}].function.parameters`,
      strict: (index) => `tools[${index}].function.strict`,
      choice: 'tool_choice',
    },
  }
}

export function promptEndOf({
  add_generation_prompt,
  continue_final_message,
}: Pick<ChatCompletionRequest, 'add_generation_prompt' | 'continue_final_message'>): PromptEnd {
  if (continue_final_message) return 'within'
  return add_generation_prompt === false ? 'message' : 'answer'
}

function presentation(
  request: ChatCompletionRequest,
  { answerers, codec, model, n, toolUse }: Generation & { readonly toolUse: ToolUse },
  c: Context<TenantApp>,
): Presentation<ChatCompletion, ChatCompletionChunk> {
  const name = c.get('requestId').slice('req_'.length)
  const head = {
    id: `chatcmpl-${name}`,
    created: Math.floor(Date.now() / 1000),
    model: askedOf(answerers),
    system_fingerprint: `fp_${model.record.backbone.digest.slice(0, 12)}`,
  }
  const callId = (choice: number, call: number) => `call_${name}_${choice}_${call}`
  const logprobs = (tokens: readonly PlacedToken[]) =>
    request.logprobs ? { content: contentLogprobs(tokens, codec.vocabulary), refusal: null } : null
  /** Where several models answer together, adds to each choice the model that gives it. */
  const named = <Choice extends { readonly index: number }>(choice: Choice): Choice & { model?: string } => {
    const answerer = answerers[choice.index % n]
    return request.models === undefined || answerer === undefined
      ? choice
      : { ...choice, model: answerer.asked }
  }
  const chunk = (choice: ChatCompletionChunk['choices'][number]): ChatCompletionChunk => ({
    ...head,
    object: 'chat.completion.chunk',
    choices: [named(choice)],
  })
  const readers = Array.from({ length: n }, () => toolUse.reader())
  const deltaOf = (index: number, piece: AnswerPiece): Delta => {
    if (piece.type === 'text') return { content: piece.text }
    const { call } = piece
    const part: CallPiece =
      piece.type === 'arguments'
        ? { index: call, function: { arguments: piece.text } }
        : {
            index: call,
            id: callId(index, call),
            type: 'function',
            function: { name: piece.name, arguments: '' },
          }
    return { tool_calls: [part] }
  }
  return {
    operation: 'chat',
    whole: (choices, usage) => ({
      ...head,
      object: 'chat.completion',
      choices: choices.map(({ finish, text: given, tokens }, index) => {
        const { calls, text } = answered(given, toolUse.reader())
        const tool_calls = calls.map((call, at) => ({
          id: callId(index, at),
          type: 'function' as const,
          function: call,
        }))
        return named({
          index,
          message: {
            role: 'assistant' as const,
            content: calls.length > 0 && text === '' ? null : text,
            refusal: null,
            ...(calls.length > 0 && { tool_calls }),
          },
          logprobs: logprobs(tokens),
          finish_reason: finishReason(finish.reason, calls.length > 0),
        })
      }),
      usage,
    }),
    opening: (index) => [
      chunk({ index, delta: { role: 'assistant', content: '' }, logprobs: null, finish_reason: null }),
    ],
    chunks: (index, { finish, text, tokens }) => {
      const reader = readers[index]
      const pieces: readonly AnswerPiece[] =
        reader === undefined
          ? text === ''
            ? []
            : [{ type: 'text', text }]
          : [...reader.push(text), ...(finish === undefined ? [] : reader.finish())]
      const deltas = pieces.map((piece) => deltaOf(index, piece))
      // Tokens are told of with the first of what they brought, or by themselves.
      if (deltas.length === 0 && (reader === undefined || request.logprobs) && tokens.length > 0)
        deltas.push({ content: '' })
      return [
        ...deltas.map((delta, at) =>
          chunk({ index, delta, logprobs: at === 0 ? logprobs(tokens) : null, finish_reason: null }),
        ),
        ...(finish === undefined
          ? []
          : [
              chunk({
                index,
                delta: {},
                logprobs: null,
                finish_reason: finishReason(finish.reason, reader?.hasCalled === true),
              }),
            ]),
      ]
    },
    closing: (usage, { isAsked }) =>
      isAsked ? [{ ...head, object: 'chat.completion.chunk', choices: [], usage }] : [],
  }
}

const finishReason = (reason: FinishReason, hasCalled: boolean) =>
  reason === 'stop' && hasCalled ? 'tool_calls' : reason
