import { z } from 'zod'
import type {
  MessageEvent,
  MessageObject,
  MessagesRequest,
  MessagesUsage,
  StopReason,
} from '../../shared/api/messages.ts'
import type { CompletionUsage } from '../../shared/api/parameters.ts'
import type { RequestId } from '../../shared/ids.ts'
import { parseBounded } from '../../shared/json-depth.ts'
import { anthropicType } from '../http/error-response.ts'
import type { ChoiceDelta } from '../streaming/read-choice.ts'
import { answered } from '../tools/answered.ts'
import type { AnswerPiece } from '../tools/call-pieces.ts'
import type { ToolUse } from '../tools/tool-use.ts'
import type { Presentation } from './answer.ts'
import { type Generation, usageOf } from './generation.ts'

type Finish = NonNullable<ChoiceDelta['finish']>

/** How `/v1/messages` words its answer: blocks of text and of calls, whole or as events. */
export function messagePresentation({
  generation: { codec, prompts, toolUse },
  request,
  requestId,
}: {
  request: MessagesRequest
  generation: Generation & { readonly toolUse: ToolUse }
  requestId: RequestId
}): Presentation<MessageObject, MessageEvent> {
  const name = requestId.slice('req_'.length)
  const begun: MessageObject = {
    id: `msg_${name}`,
    type: 'message',
    role: 'assistant',
    model: request.model,
    content: [],
    stop_reason: null,
    stop_sequence: null,
    usage: usageIn(usageOf(prompts, { completionTokens: 0 })),
  }
  const stop = (
    { reason, stopString, stopToken }: Finish,
    hasCalled: boolean,
  ): Pick<MessageObject, 'stop_reason' | 'stop_sequence'> => {
    const spelled = request.stop_sequences.find(
      (text) => stopToken !== undefined && codec.addedTokens.specialId(text) === stopToken.id,
    )
    const sequence = stopString ?? spelled ?? null
    const ended: StopReason = sequence !== null ? 'stop_sequence' : hasCalled ? 'tool_use' : 'end_turn'
    return { stop_reason: reason === 'length' ? 'max_tokens' : ended, stop_sequence: sequence }
  }
  const callId = (call: number) => `toolu_${name}_${call}`
  const blocks = new MessageBlocks(callId)
  const reader = toolUse.reader()
  let finish: Finish = { reason: 'length' }
  return {
    operation: 'chat',
    isNamed: true,
    endsWithout: true,
    whole: ([choice], usage) => {
      const { calls, text } = answered(choice?.text ?? '', toolUse.reader())
      return {
        ...begun,
        content: [
          ...(text === '' ? [] : [{ type: 'text' as const, text }]),
          ...calls.map((call, at) => ({
            type: 'tool_use' as const,
            id: callId(at),
            name: call.name,
            input: inputOf(call.arguments),
          })),
        ],
        ...stop(choice?.finish ?? finish, calls.length > 0),
        usage: usageIn(usage),
      }
    },
    opening: () => [
      { type: 'message_start', message: begun },
      // Where functions may be called, the first block may be a call.
      ...(reader === undefined ? blocks.open({ type: 'text', text: '' }) : []),
    ],
    chunks: (_index, delta) => {
      if (delta.finish !== undefined) finish = delta.finish
      if (reader === undefined) return delta.text === '' ? [] : blocks.add({ type: 'text', text: delta.text })
      const pieces = [...reader.push(delta.text), ...(delta.finish === undefined ? [] : reader.finish())]
      return pieces.flatMap((piece) => blocks.add(piece))
    },
    closing: (usage) => [
      ...blocks.close(),
      { type: 'message_delta', delta: stop(finish, reader?.hasCalled === true), usage: usageIn(usage) },
      { type: 'message_stop' },
    ],
    failure: (error) => ({ type: 'error', error: { type: anthropicType(error), message: error.message } }),
  }
}

/** The events of a message's blocks. */
class MessageBlocks {
  readonly #callId: (call: number) => string
  #index = -1
  #type: 'text' | 'tool_use' | undefined

  constructor(callId: (call: number) => string) {
    this.#callId = callId
  }

  open(block: { readonly type: 'text' | 'tool_use' } & Record<string, unknown>): MessageEvent[] {
    const events = this.close()
    this.#index += 1
    this.#type = block.type
    return [...events, { type: 'content_block_start', index: this.#index, content_block: block }]
  }

  add(piece: AnswerPiece): MessageEvent[] {
    if (piece.type === 'call')
      return this.open({ type: 'tool_use', id: this.#callId(piece.call), name: piece.name, input: {} })
    if (piece.type === 'arguments')
      return [this.#delta({ type: 'input_json_delta', partial_json: piece.text })]
    const opening = this.#type === 'text' ? [] : this.open({ type: 'text', text: '' })
    return [...opening, this.#delta({ type: 'text_delta', text: piece.text })]
  }

  close(): MessageEvent[] {
    if (this.#type === undefined) return []
    this.#type = undefined
    return [{ type: 'content_block_stop', index: this.#index }]
  }

  #delta(delta: object): MessageEvent {
    return { type: 'content_block_delta', index: this.#index, delta }
  }
}

const Input = z.record(z.string(), z.unknown())

/** A call that was cut off has no input. */
function inputOf(text: string): Record<string, unknown> {
  try {
    return Input.safeParse(parseBounded(text)).data ?? {}
  } catch {
    return {}
  }
}

/** Leaves tokens that an earlier request had read out of `input_tokens`, as Anthropic does. */
function usageIn({
  completion_tokens,
  prompt_tokens,
  prompt_tokens_details,
}: CompletionUsage): MessagesUsage {
  const cached = prompt_tokens_details?.cached_tokens ?? 0
  return {
    input_tokens: prompt_tokens - cached,
    cache_creation_input_tokens: 0,
    cache_read_input_tokens: cached,
    output_tokens: completion_tokens,
  }
}
