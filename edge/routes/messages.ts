import type { Context } from 'hono'
import type { ChatMessage } from '../../shared/api/chat-completions.ts'
import type { CountTokensRequest, MessagesRequest } from '../../shared/api/messages.ts'
import { ChatTemplate } from '../../shared/tokenizer/chat-template.ts'
import type { TenantApp } from '../request-context.ts'
import { answer } from './answer.ts'
import { type EncodedPrompts, encodePrompts } from './encode-prompts.ts'
import { checkContext, type Generation, promptRoom } from './generation.ts'
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

async function toGeneration(request: MessagesRequest, c: Context<TenantApp>): Promise<Generation> {
  const open = await encoded({ ...request, user: request.metadata?.user_id ?? request.user }, c)
  const { codec, model, prompts } = open
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
    sampling: toSampling(request, codec.vocabulary),
    stops: request.stop_sequences,
    stopTokens: stopTokensOf(
      { ignoreEos: request.ignore_eos, ids: request.stop_token_ids, strings: request.stop_sequences },
      open,
    ),
    grammar: undefined,
    logprobs: null,
  }
}

type Conversation = Pick<CountTokensRequest, 'model' | 'messages' | 'system' | 'user'>

function encoded(request: Conversation, c: Context<TenantApp>): Promise<EncodedPrompts> {
  const system = request.system === undefined ? [] : [message('system', request.system)]
  const messages = [...system, ...request.messages.map(({ content, role }) => message(role, content))]
  return encodePrompts(request, c, ({ codec, model }) => ({
    prompts: [
      ChatTemplate.of(model.record, codec).encode(messages, {
        tuned: model.adapter !== null,
        room: promptRoom(model),
        // A last message of the assistant is the beginning of the answer, as at Anthropic.
        end: request.messages.at(-1)?.role === 'assistant' ? 'within' : 'answer',
      }),
    ],
  }))
}

const message = (role: ChatMessage['role'], content: string): ChatMessage => ({
  role,
  content,
  name: undefined,
})
