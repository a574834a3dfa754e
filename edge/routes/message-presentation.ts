import type {
  MessageEvent,
  MessageObject,
  MessagesRequest,
  MessagesUsage,
  StopReason,
} from '../../shared/api/messages.ts'
import type { Usage } from '../../shared/api/parameters.ts'
import type { RequestId } from '../../shared/ids.ts'
import type { ChoiceDelta } from '../streaming/read-choice.ts'
import type { Presentation } from './answer.ts'
import { type Generation, usageOf } from './generation.ts'

type Finish = NonNullable<ChoiceDelta['finish']>

/** How `/v1/messages` words its answer: one message of one text block, whole or as events. */
export function messagePresentation({
  generation: { codec, prompts },
  request,
  requestId,
}: {
  request: MessagesRequest
  generation: Generation
  requestId: RequestId
}): Presentation<MessageObject, MessageEvent> {
  const begun: MessageObject = {
    id: `msg_${requestId.slice('req_'.length)}`,
    type: 'message',
    role: 'assistant',
    model: request.model,
    content: [],
    stop_reason: null,
    stop_sequence: null,
    usage: usageIn(usageOf(prompts, { completionTokens: 0 })),
  }
  const stop = ({ reason, stopString, stopToken }: Finish) => {
    const spelled = request.stop_sequences.find(
      (text) => stopToken !== undefined && codec.addedTokens.specialId(text) === stopToken.id,
    )
    const sequence = stopString ?? spelled ?? null
    const why: StopReason =
      reason === 'length' ? 'max_tokens' : sequence === null ? 'end_turn' : 'stop_sequence'
    return { stop_reason: why, stop_sequence: sequence }
  }
  let finish: Finish = { reason: 'length' }
  return {
    operation: 'chat',
    isNamed: true,
    endsWithout: true,
    whole: ([choice], usage) => ({
      ...begun,
      content: choice === undefined || choice.text === '' ? [] : [{ type: 'text', text: choice.text }],
      ...stop(choice?.finish ?? finish),
      usage: usageIn(usage),
    }),
    opening: () => [
      { type: 'message_start', message: begun },
      { type: 'content_block_start', index: 0, content_block: { type: 'text', text: '' } },
    ],
    chunks: (_index, delta) => {
      if (delta.finish !== undefined) finish = delta.finish
      if (delta.text === '') return []
      return [{ type: 'content_block_delta', index: 0, delta: { type: 'text_delta', text: delta.text } }]
    },
    closing: (usage) => [
      { type: 'content_block_stop', index: 0 },
      { type: 'message_delta', delta: stop(finish), usage: usageIn(usage) },
      { type: 'message_stop' },
    ],
    failure: ({ message, status }) => ({
      type: 'error',
      error: { type: status === 503 ? 'overloaded_error' : 'api_error', message },
    }),
  }
}

/** What was read of an earlier request is no new input, as at Anthropic. */
function usageIn({ completion_tokens, prompt_tokens, prompt_tokens_details }: Usage): MessagesUsage {
  const cached = prompt_tokens_details?.cached_tokens ?? 0
  return {
    input_tokens: prompt_tokens - cached,
    cache_creation_input_tokens: 0,
    cache_read_input_tokens: cached,
    output_tokens: completion_tokens,
  }
}
