import type { Context } from 'hono'
import type { Item, ResponseObject, ResponsesRequest } from '../../shared/api/responses.ts'
import { type TextFormat, textFormatOf } from '../../shared/api/structure.ts'
import { QuartetError } from '../../shared/errors.ts'
import type { Turn } from '../../shared/tokenizer/conversation.ts'
import type { TenantApp } from '../request-context.ts'
import { type Said, storedResponse } from '../responses/stored-response.ts'
import { grammarOfText } from '../structure/grammar.ts'
import { ownForm } from '../tenants/own-form.ts'
import { itemTurns } from '../tools/item-turns.ts'
import { type AskedTools, ToolUse } from '../tools/tool-use.ts'
import { answer } from './answer.ts'
import { defaultChatTokens } from './chat-completions.ts'
import { encodeConversation } from './encode-conversation.ts'
import { encodePrompts } from './encode-prompts.ts'
import { checkContext, promptRoom } from './fit-context.ts'
import { fitConversation } from './fit-conversation.ts'
import { type PresentedGeneration, responsePresentation } from './response-presentation.ts'
import { stopTokensOf, toSampling } from './sampling.ts'
import { ownResponses } from './stored-responses.ts'

const textAlone: TextFormat = { type: 'text' }

/** The bound on a conversation as it is stored. */
const maxConversationBytes = 1024 * 1024

/** `POST /v1/responses`. */
export async function createResponse(request: ResponsesRequest, c: Context<TenantApp>): Promise<Response> {
  const { input, previous_response_id: previous } = request
  const earlier =
    previous === undefined
      ? []
      : (await storedResponse(previous, { own: ownResponses(c), param: 'previous_response_id' })).conversation
  const own: readonly Said[] =
    typeof input === 'string' ? [{ role: 'user', content: input }] : input.map(keptItem)
  const conversation = [...earlier, ...own]
  if (request.store) checkStorable(conversation)
  const turns = itemTurns(conversation, { inputFrom: earlier.length })
  const generation = await toGeneration(request, turns, c)
  const presentation = responsePresentation({
    request,
    generation,
    requestId: c.get('requestId'),
    finished: async (response) => {
      if (!request.store) return
      const output = response.output.map(keptOutput)
      await ownResponses(c).put(response.id, {
        response,
        conversation: [...conversation, ...output],
        inputFrom: earlier.length,
        outputs: output.length,
      })
    },
  })
  return answer({ generation, request: { ...request, stream_options: undefined }, presentation }, c)
}

function keptItem(item: Item): Said {
  switch (item.type) {
    case 'message':
      return { role: item.role, content: item.content }
    case 'function_call':
      return { type: item.type, call_id: item.call_id, name: item.name, arguments: item.arguments }
    case 'function_call_output':
      return { type: item.type, call_id: item.call_id, output: item.output }
  }
}

function keptOutput(item: ResponseObject['output'][number]): Said {
  return item.type === 'message'
    ? { role: 'assistant', content: item.content.map(({ text }) => text).join('') }
    : { type: item.type, call_id: item.call_id, name: item.name, arguments: item.arguments }
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
  conversation: readonly Turn[],
  c: Context<TenantApp>,
): Promise<PresentedGeneration> {
  const { instructions = '' } = request
  // Empty ones are none: they would keep the template's own prompt out.
  const system: readonly Turn[] = instructions === '' ? [] : [{ role: 'system', content: instructions }]
  const turns = [...system, ...conversation]
  const encoded = await encodePrompts({ ...request, param: 'input' }, c, (open) => {
    const toolUse = new ToolUse(askedTools(request), open)
    const asked = request.text?.format
    const own = asked === undefined ? ownForm([open.model], 'text.format') : undefined
    const form = grammarOfText(asked, { minTokens: request.min_tokens, own: () => own })
    const format = asked ?? (own === undefined ? textAlone : textFormatOf(own))
    const constraint = toolUse.constraint(form, { minTokens: request.min_tokens })
    const room = promptRoom(open.model)
    const encode = (room: number) => (shown: readonly Turn[]) =>
      encodeConversation(shown, { ...open, room, param: 'input', tools: toolUse.shown })
    const left = Math.max(1, room + 1 - (request.max_output_tokens ?? 1))
    const prompt =
      request.truncation === 'disabled'
        ? encode(room)(turns)
        : fitConversation(turns, { encode: encode(left), kept: system.length })
    return { prompts: [prompt], toolUse, constraint, format }
  })
  const { codec, constraint, model, prompts, toolUse } = encoded
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
    sampling: toSampling(request, codec),
    ownPriority: request.priority,
    stops: request.stop,
    stopTokens: stopTokensOf(
      { ignoreEos: request.ignore_eos, ids: request.stop_token_ids, strings: request.stop },
      encoded,
    ),
    ...constraint,
    grammarParam:
      request.text?.format !== undefined
        ? 'text.format.schema'
        : request.tools.length > 0
          ? 'tools'
          : 'model',
    shownTokens: toolUse.shownTokens,
    logprobs: tellsLogprobs ? (request.top_logprobs ?? 0) : null,
  }
}

function askedTools({ parallel_tool_calls, tool_choice, tools }: ResponsesRequest): AskedTools {
  return {
    functions: tools,
    choice: tool_choice,
    isParallel: parallel_tool_calls,
    places: {
      name: (index) => `tools[${index}].name`,
      schema: (index) => `tools[${index}].parameters`,
      strict: (index) => `tools[${index}].strict`,
      choice: 'tool_choice',
    },
  }
}
