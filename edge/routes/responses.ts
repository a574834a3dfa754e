import type { Context } from 'hono'
import type { ChatMessage } from '../../shared/api/chat-completions.ts'
import type { ResponsesRequest } from '../../shared/api/responses.ts'
import { QuartetError } from '../../shared/errors.ts'
import { ChatTemplate } from '../../shared/tokenizer/chat-template.ts'
import type { TenantApp } from '../request-context.ts'
import { type Said, storedResponse } from '../responses/stored-response.ts'
import { grammarOfText } from '../structure/grammar.ts'
import { answer } from './answer.ts'
import { defaultChatTokens } from './chat-completions.ts'
import { encodePrompts } from './encode-prompts.ts'
import { fitConversation } from './fit-conversation.ts'
import { checkContext, type Generation, promptRoom } from './generation.ts'
import { responsePresentation } from './response-presentation.ts'
import { stopTokensOf, toSampling } from './sampling.ts'
import { ownResponses } from './stored-responses.ts'

/** Of a conversation as it is stored. */
const maxConversationBytes = 1024 * 1024

/** `POST /v1/responses`. */
export async function createResponse(request: ResponsesRequest, c: Context<TenantApp>): Promise<Response> {
  const { input, previous_response_id: previous } = request
  const earlier =
    previous === undefined
      ? []
      : (await storedResponse(previous, { own: ownResponses(c), param: 'previous_response_id' })).conversation
  const own: readonly Said[] =
    typeof input === 'string'
      ? [{ role: 'user', content: input }]
      : input.map(({ content, role }) => ({ content, role }))
  const conversation = [...earlier, ...own]
  if (request.store) checkStorable(conversation)
  const generation = await toGeneration(request, conversation, c)
  const presentation = responsePresentation({
    request,
    generation,
    requestId: c.get('requestId'),
    finished: async (response, text) => {
      if (!request.store) return
      await ownResponses(c).put(response.id, {
        response,
        conversation: [...conversation, { role: 'assistant', content: text }],
        inputFrom: earlier.length,
      })
    },
  })
  return answer({ generation, request: { ...request, stream_options: undefined }, presentation }, c)
}

function checkStorable(conversation: readonly Said[]): void {
  if (new TextEncoder().encode(JSON.stringify(conversation)).length <= maxConversationBytes) return
  throw new QuartetError(
    'invalid_request',
    `input: a conversation of more than ${maxConversationBytes} bytes is not kept; send store: false`,
    { param: 'input' },
  )
}

async function toGeneration(
  request: ResponsesRequest,
  conversation: readonly Said[],
  c: Context<TenantApp>,
): Promise<Generation> {
  const system = request.instructions === undefined ? [] : [message('system', request.instructions)]
  const messages = [...system, ...conversation.map(({ content, role }) => message(role, content))]
  const encoded = await encodePrompts(request, c, ({ codec, model }) => {
    const template = ChatTemplate.of(model.record, codec)
    const room = promptRoom(model)
    const encode = (room: number) => (shown: readonly ChatMessage[]) =>
      template.encode(shown, { tuned: model.adapter !== null, room, param: 'input' })
    if (request.truncation === 'disabled') return { prompts: [encode(room)(messages)] }
    const left = Math.max(1, room + 1 - (request.max_output_tokens ?? 1))
    return { prompts: [fitConversation(messages, { encode: encode(left), kept: system.length })] }
  })
  const { codec, model, prompts } = encoded
  const tellsLogprobs = request.include?.includes('message.output_text.logprobs') === true
  return {
    ...encoded,
    n: 1,
    maxTokens: checkContext(prompts, {
      model,
      requested: request.max_output_tokens,
      cap: defaultChatTokens,
      param: 'input',
      limitParam: 'max_output_tokens',
    }),
    sampling: toSampling(request, codec.vocabulary),
    stops: request.stop,
    stopTokens: stopTokensOf(
      { ignoreEos: request.ignore_eos, ids: request.stop_token_ids, strings: request.stop },
      encoded,
    ),
    grammar: grammarOfText(request.text?.format, request.min_tokens),
    logprobs: tellsLogprobs ? (request.top_logprobs ?? 0) : null,
  }
}

const message = (role: ChatMessage['role'], content: string): ChatMessage => ({
  role,
  content,
  name: undefined,
})
