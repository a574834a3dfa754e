import type { CompletionUsage } from '../../shared/api/parameters.ts'
import type { ResponseEvent, ResponseObject, ResponsesRequest } from '../../shared/api/responses.ts'
import type { TextFormat } from '../../shared/api/structure.ts'
import type { RequestId } from '../../shared/ids.ts'
import type { ChoiceDelta } from '../streaming/read-choice.ts'
import { contentLogprobs } from '../streaming/token-text.ts'
import type { ToolUse } from '../tools/tool-use.ts'
import type { Presentation } from './answer.ts'
import type { Generation } from './generation.ts'
import { byToken, ResponseCalls } from './response-calls.ts'
import { type ItemEvent, ResponseItems } from './response-items.ts'

/** A generation with the way in which its answer is told. */
export interface PresentedGeneration extends Generation {
  readonly toolUse: ToolUse
  /** The form that its text has, by the request or by the alias. */
  readonly format: TextFormat
}

interface Presented {
  readonly request: ResponsesRequest
  readonly generation: PresentedGeneration
  readonly requestId: RequestId
  /** Called with the response before the client has it. */
  readonly finished: (response: ResponseObject) => Promise<void>
}

type Finish = NonNullable<ChoiceDelta['finish']>

/** How `/v1/responses` words its answer: text and calls as items, whole or as events that count from 0. */
export function responsePresentation({
  finished,
  generation: { codec, format, logprobs, toolUse },
  request,
  requestId,
}: Presented): Presentation<ResponseObject, ResponseEvent> {
  const name = requestId.slice('req_'.length)
  const begun = inProgress(request, { id: `resp_${name}`, format })
  const newItems = () =>
    new ResponseItems({
      name,
      logprobsOf: (tokens) => (logprobs === null ? [] : contentLogprobs(tokens, codec.vocabulary)),
    })
  const ended = (
    output: ResponseObject['output'],
    { finish, usage }: { finish: Finish; usage: CompletionUsage },
  ): ResponseObject => {
    const isWhole = finish.reason === 'stop'
    return {
      ...begun,
      status: isWhole ? 'completed' : 'incomplete',
      completed_at: isWhole ? seconds() : null,
      incomplete_details: isWhole ? null : { reason: 'max_output_tokens' },
      output,
      usage: usageOf(usage),
    }
  }
  let count = 0
  const numbered = (events: readonly ItemEvent[]): ResponseEvent[] =>
    events.map((event) => ({ ...event, sequence_number: count++ }))
  const callsInto = (into: ResponseItems) => {
    const reader = toolUse.reader()
    return reader && new ResponseCalls(reader, into)
  }
  const items = newItems()
  const calls = callsInto(items)
  let finish: Finish = { reason: 'length' }
  const statusOf = ({ reason }: Finish) => (reason === 'stop' ? 'completed' : 'incomplete')
  return {
    operation: 'chat',
    isNamed: true,
    whole: async ([choice], usage) => {
      const { finish: end = finish, text = '', tokens = [] } = choice ?? {}
      const whole = newItems()
      const calls = callsInto(whole)
      if (calls === undefined) whole.add({ type: 'text', text }, tokens)
      else {
        for (const told of byToken({ text, tokens })) calls.add(told)
        calls.end()
      }
      whole.close(statusOf(end))
      const response = ended(whole.output, { finish: end, usage })
      await finished(response)
      return response
    },
    opening: () =>
      numbered([
        { type: 'response.created', response: begun },
        { type: 'response.in_progress', response: begun },
        // Where functions may be called, the first item may be a call.
        ...(calls === undefined ? items.openMessage() : []),
      ]),
    chunks: (_index, delta) => {
      if (delta.finish !== undefined) finish = delta.finish
      if (calls === undefined) {
        if (delta.text === '') items.keep(delta.tokens)
        return numbered(delta.text === '' ? [] : items.add({ type: 'text', text: delta.text }, delta.tokens))
      }
      return numbered([...calls.add(delta), ...(delta.finish === undefined ? [] : calls.end())])
    },
    closing: async (usage) => {
      const events = items.close(statusOf(finish))
      const response = ended(items.output, { finish, usage })
      await finished(response)
      return numbered([...events, { type: `response.${response.status}`, response }])
    },
    failure: ({ code, message }, usage) => ({
      type: 'response.failed',
      sequence_number: count++,
      response: { ...begun, status: 'failed', error: { code, message }, usage: usageOf(usage) },
    }),
  }
}

const seconds = () => Math.floor(Date.now() / 1000)

const usageOf = (usage: CompletionUsage): NonNullable<ResponseObject['usage']> => ({
  input_tokens: usage.prompt_tokens,
  input_tokens_details: { cached_tokens: usage.prompt_tokens_details?.cached_tokens ?? 0 },
  output_tokens: usage.completion_tokens,
  output_tokens_details: { reasoning_tokens: 0 },
  total_tokens: usage.total_tokens,
})

const inProgress = (
  request: ResponsesRequest,
  { format, id }: { readonly id: string; readonly format: TextFormat },
): ResponseObject => ({
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
  parallel_tool_calls: request.parallel_tool_calls,
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
  text: { format },
  tool_choice: request.tool_choice,
  tools: request.tools.map(({ description = null, name, parameters = null, strict, type }) => ({
    type,
    name,
    description,
    parameters,
    strict,
  })),
  top_logprobs: request.top_logprobs ?? 0,
  truncation: request.truncation,
  usage: null,
  user: request.user ?? null,
})
