import type { Usage } from '../../shared/api/parameters.ts'
import type {
  OutputMessage,
  OutputText,
  ResponseEvent,
  ResponseObject,
  ResponsesRequest,
} from '../../shared/api/responses.ts'
import type { RequestId } from '../../shared/ids.ts'
import type { PlacedToken } from '../streaming/choice-text.ts'
import type { ChoiceDelta } from '../streaming/read-choice.ts'
import { contentLogprobs } from '../streaming/token-text.ts'
import type { Presentation } from './answer.ts'
import type { Generation } from './generation.ts'

interface Presented {
  readonly request: ResponsesRequest
  readonly generation: Generation
  readonly requestId: RequestId
  /** Called with the response before the client has it. */
  readonly finished: (response: ResponseObject, text: string) => Promise<void>
}

type Finish = NonNullable<ChoiceDelta['finish']>

/** How `/v1/responses` words its answer: one message, whole or as events that count from 0. */
export function responsePresentation({
  finished,
  generation: { codec, logprobs },
  request,
  requestId,
}: Presented): Presentation<ResponseObject, ResponseEvent> {
  const name = requestId.slice('req_'.length)
  const begun = inProgress(request, `resp_${name}`)
  const messageOf = (status: OutputMessage['status'], content: readonly OutputText[]): OutputMessage => ({
    id: `msg_${name}`,
    type: 'message',
    status,
    role: 'assistant',
    content: [...content],
  })
  const textOf = (text: string, tokens: readonly PlacedToken[]): OutputText => ({
    type: 'output_text',
    text,
    annotations: [],
    logprobs: logprobs === null ? [] : contentLogprobs(tokens, codec.vocabulary),
  })
  const ended = (output: OutputText, { finish, usage }: { finish: Finish; usage: Usage }): ResponseObject => {
    const isWhole = finish.reason === 'stop'
    return {
      ...begun,
      status: isWhole ? 'completed' : 'incomplete',
      completed_at: isWhole ? seconds() : null,
      incomplete_details: isWhole ? null : { reason: 'max_output_tokens' },
      output: [messageOf(isWhole ? 'completed' : 'incomplete', [output])],
      usage: usageOf(usage),
    }
  }
  let count = 0
  const event = (type: string, fields: object): ResponseEvent => ({
    type,
    sequence_number: count++,
    ...fields,
  })
  const place = { item_id: `msg_${name}`, output_index: 0, content_index: 0 }
  let shown = ''
  const tokens: PlacedToken[] = []
  let finish: Finish = { reason: 'length' }
  return {
    operation: 'chat',
    isNamed: true,
    whole: async ([choice], usage) => {
      const { text = '', tokens: own = [] } = choice ?? {}
      const response = ended(textOf(text, own), { finish: choice?.finish ?? finish, usage })
      await finished(response, text)
      return response
    },
    opening: () => [
      event('response.created', { response: begun }),
      event('response.in_progress', { response: begun }),
      event('response.output_item.added', { output_index: 0, item: messageOf('in_progress', []) }),
      event('response.content_part.added', { ...place, part: textOf('', []) }),
    ],
    chunks: (_index, delta) => {
      shown += delta.text
      tokens.push(...delta.tokens)
      if (delta.finish !== undefined) finish = delta.finish
      if (delta.text === '') return []
      const { logprobs: told } = textOf('', delta.tokens)
      return [event('response.output_text.delta', { ...place, delta: delta.text, logprobs: told })]
    },
    closing: async (usage) => {
      const part = textOf(shown, tokens)
      const response = ended(part, { finish, usage })
      await finished(response, shown)
      return [
        event('response.output_text.done', { ...place, text: shown, logprobs: part.logprobs }),
        event('response.content_part.done', { ...place, part }),
        event('response.output_item.done', { output_index: 0, item: response.output[0] }),
        event(`response.${response.status}`, { response }),
      ]
    },
    failure: ({ code, message }, usage) =>
      event('response.failed', {
        response: { ...begun, status: 'failed', error: { code, message }, usage: usageOf(usage) },
      }),
  }
}

const seconds = () => Math.floor(Date.now() / 1000)

const usageOf = (usage: Usage): NonNullable<ResponseObject['usage']> => ({
  input_tokens: usage.prompt_tokens,
  input_tokens_details: { cached_tokens: usage.prompt_tokens_details?.cached_tokens ?? 0 },
  output_tokens: usage.completion_tokens,
  output_tokens_details: { reasoning_tokens: 0 },
  total_tokens: usage.total_tokens,
})

const inProgress = (request: ResponsesRequest, id: string): ResponseObject => ({
  id,
  object: 'response',
  created_at: seconds(),
  completed_at: null,
  status: 'in_progress',
  background: false,
  error: null,
  incomplete_details: null,
  instructions: request.instructions ?? null,
  max_output_tokens: request.max_output_tokens ?? null,
  max_tool_calls: null,
  metadata: request.metadata,
  model: request.model,
  output: [],
  parallel_tool_calls: request.parallel_tool_calls !== false,
  previous_response_id: request.previous_response_id ?? null,
  prompt_cache_key: request.prompt_cache_key ?? null,
  reasoning: { effort: null, summary: null },
  safety_identifier: request.safety_identifier ?? null,
  service_tier: 'default',
  store: request.store,
  temperature: request.temperature,
  top_p: request.top_p,
  frequency_penalty: request.frequency_penalty,
  presence_penalty: request.presence_penalty,
  text: { format: request.text?.format ?? { type: 'text' } },
  tool_choice: request.tool_choice === 'none' ? 'none' : 'auto',
  tools: [],
  top_logprobs: request.top_logprobs ?? 0,
  truncation: request.truncation,
  usage: null,
  user: request.user ?? null,
})
