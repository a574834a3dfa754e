import type { ToolCall, Turn } from '../../shared/tokenizer/conversation.ts'
import type { Said } from '../responses/stored-response.ts'
import { argumentsIn, requireCall } from './chat-turns.ts'

/**
 * Items of a response's conversation as templates are given them: calls belong to the assistant's message in front of
 * them. Throws `invalid_request` for a result of no call, or arguments that are no JSON object.
 */
export function itemTurns(items: readonly Said[], { inputFrom }: { inputFrom: number }): readonly Turn[] {
  const turns: Turn[] = []
  const called = new Set<string>()
  for (const [at, item] of items.entries()) {
    const place = `input[${Math.max(0, at - inputFrom)}]`
    if ('role' in item) turns.push({ role: item.role, content: item.content })
    else if (item.type === 'function_call_output') {
      requireCall(item.call_id, { called, param: `${place}.call_id` })
      turns.push({ role: 'tool', content: item.output, toolCallId: item.call_id })
    } else {
      called.add(item.call_id)
      const call: ToolCall = {
        id: item.call_id,
        name: item.name,
        arguments: at < inputFrom ? made(item.arguments) : argumentsIn(item.arguments, `${place}.arguments`),
      }
      const last = turns.at(-1)
      if (last?.role === 'assistant')
        turns[turns.length - 1] = { ...last, toolCalls: [...(last.toolCalls ?? []), call] }
      else turns.push({ role: 'assistant', content: '', toolCalls: [call] })
    }
  }
  return turns
}

/** Arguments that a model made: a call that was cut off has none. */
function made(text: string): Readonly<Record<string, unknown>> {
  try {
    return argumentsIn(text, 'input')
  } catch {
    return {}
  }
}
