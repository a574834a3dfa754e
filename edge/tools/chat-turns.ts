import { z } from 'zod'
import type { RequestMessage } from '../../shared/api/chat-completions.ts'
import { QuartetError } from '../../shared/errors.ts'
import { maxJsonDepth, parseBounded } from '../../shared/json-depth.ts'
import type { Turn } from '../../shared/tokenizer/conversation.ts'

const Arguments = z.record(z.string(), z.unknown())

/** The arguments of a call in a history. Throws `invalid_request` for text that is no JSON object, or too deep a one. */
export function argumentsIn(text: string, param: string): Readonly<Record<string, unknown>> {
  try {
    const parsed = Arguments.safeParse(text.trim() === '' ? {} : parseBounded(text))
    if (parsed.success) return parsed.data
  } catch {
    // Below.
  }
  throw new QuartetError(
    'invalid_request',
    `${param}: must be text that is a JSON object, at most ${maxJsonDepth} levels deep; send the arguments of the call as they came, or {}`,
    { param },
  )
}

/** Messages of a chat as templates are given them. Throws `invalid_request` for a result of no call. */
export function chatTurns(messages: readonly RequestMessage[]): readonly Turn[] {
  const called = new Set<string>()
  return messages.map((message, at): Turn => {
    switch (message.role) {
      case 'tool':
        requireCall(message.tool_call_id, { called, param: `messages[${at}].tool_call_id` })
        return { role: 'tool', content: message.content, toolCallId: message.tool_call_id }
      case 'assistant': {
        const { content = '', reasoning_content, tool_calls } = message
        const toolCalls = tool_calls.map((call, index) => {
          called.add(call.id)
          const param = `messages[${at}].tool_calls[${index}].function.arguments`
          return {
            id: call.id,
            name: call.function.name,
            arguments: argumentsIn(call.function.arguments, param),
          }
        })
        return { role: 'assistant', content, reasoning_content, toolCalls }
      }
      default:
        return message
    }
  })
}

/** Throws `invalid_request` unless the call of that id stands in front. */
export function requireCall(
  id: string,
  { called, param }: { called: ReadonlySet<string>; param: string },
): void {
  if (called.has(id)) return
  throw new QuartetError(
    'invalid_request',
    `${param}: no message in front of it calls ${JSON.stringify(id.slice(0, 64))}; send the assistant's message with its calls as well`,
    { param },
  )
}
