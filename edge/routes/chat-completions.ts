import type { Context } from 'hono'
import {
  type ChatCompletion,
  type ChatCompletionChunk,
  ChatCompletionRequest,
} from '../../shared/api/chat-completions.ts'
import { ChatTemplate, type PromptEnd } from '../../shared/tokenizer/chat-template.ts'
import { readGenerationRequest } from '../http/generation-request.ts'
import type { TenantApp } from '../request-context.ts'
import type { PlacedToken } from '../streaming/choice-text.ts'
import { contentLogprobs } from '../streaming/token-text.ts'
import { answer, type Presentation } from './answer.ts'
import { encodePrompts } from './encode-prompts.ts'
import { checkContext, type Generation, promptRoom } from './generation.ts'
import { grammarOf } from './grammar.ts'
import { stopTokensOf, toSampling } from './sampling.ts'

/** Tokens generated at most when a request does not say how many: room in the KV cache is reserved for them. */
export const defaultChatTokens = 1024

/** `POST /v1/chat/completions`. */
export async function chatCompletions(c: Context<TenantApp>): Promise<Response> {
  const request = await readGenerationRequest(ChatCompletionRequest, c)
  const generation = await toGeneration(request, c)
  return answer({ generation, request, presentation: presentation(request, generation, c) }, c)
}

async function toGeneration(request: ChatCompletionRequest, c: Context<TenantApp>): Promise<Generation> {
  const encoded = await encodePrompts(request, c, ({ codec, model }) => [
    ChatTemplate.of(model.record, codec).encode(request.messages, {
      tuned: model.adapter !== null,
      room: promptRoom(model),
      settings: request.chat_template_kwargs,
      end: promptEndOf(request),
    }),
  ])
  const { codec, model, prompts } = encoded
  return {
    ...encoded,
    n: request.n,
    maxTokens: checkContext(prompts, {
      model,
      requested: request.max_completion_tokens ?? request.max_tokens,
      cap: defaultChatTokens,
      param: 'messages',
      limitParam: request.max_completion_tokens === undefined ? 'max_tokens' : 'max_completion_tokens',
    }),
    sampling: toSampling(request, codec.vocabulary),
    stops: request.stop,
    stopTokens: stopTokensOf(
      { ignoreEos: request.ignore_eos, ids: request.stop_token_ids, strings: request.stop },
      encoded,
    ),
    grammar: grammarOf(request),
    logprobs: request.logprobs ? (request.top_logprobs ?? 0) : null,
  }
}

function promptEndOf({ add_generation_prompt, continue_final_message }: ChatCompletionRequest): PromptEnd {
  if (continue_final_message) return 'within'
  return add_generation_prompt === false ? 'message' : 'answer'
}

function presentation(
  request: ChatCompletionRequest,
  { codec, model }: Generation,
  c: Context<TenantApp>,
): Presentation<ChatCompletion, ChatCompletionChunk> {
  const head = {
    id: `chatcmpl-${c.get('requestId').slice('req_'.length)}`,
    created: Math.floor(Date.now() / 1000),
    model: request.model,
    system_fingerprint: `fp_${model.record.backbone.digest.slice(0, 12)}`,
  }
  const logprobs = (tokens: readonly PlacedToken[]) =>
    request.logprobs ? { content: contentLogprobs(tokens, codec.vocabulary), refusal: null } : null
  return {
    operation: 'chat',
    whole: (choices, usage) => ({
      ...head,
      object: 'chat.completion',
      choices: choices.map(({ finish, text, tokens }, index) => ({
        index,
        message: { role: 'assistant', content: text, refusal: null },
        logprobs: logprobs(tokens),
        finish_reason: finish.reason,
      })),
      usage,
    }),
    opening: (index) => [
      {
        ...head,
        object: 'chat.completion.chunk',
        choices: [{ index, delta: { role: 'assistant', content: '' }, logprobs: null, finish_reason: null }],
      },
    ],
    chunks: (index, { finish, text, tokens }) => {
      const chunk = (choice: Omit<ChatCompletionChunk['choices'][number], 'index'>): ChatCompletionChunk => ({
        ...head,
        object: 'chat.completion.chunk',
        choices: [{ index, ...choice }],
      })
      return [
        ...(text === '' && tokens.length === 0
          ? []
          : [chunk({ delta: { content: text }, logprobs: logprobs(tokens), finish_reason: null })]),
        ...(finish === undefined ? [] : [chunk({ delta: {}, logprobs: null, finish_reason: finish.reason })]),
      ]
    },
    closing: (usage, { isAsked }) =>
      isAsked ? [{ ...head, object: 'chat.completion.chunk', choices: [], usage }] : [],
  }
}
