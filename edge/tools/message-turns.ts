import type { InputMessage } from '../../shared/api/messages.ts'
import type { AssistantTurn, ToolCall, Turn } from '../../shared/tokenizer/conversation.ts'
import { requireCall } from './chat-turns.ts'

/** Messages of Anthropic's form as templates are given them. Throws `invalid_request` for a result of no call. */
export function messageTurns(messages: readonly InputMessage[]): readonly Turn[] {
  const called = new Set<string>()
  return messages.flatMap((message, at) => {
    if (message.role === 'assistant') {
      const turn = assistantTurn(message)
      for (const { id } of turn.toolCalls ?? []) called.add(id)
      return [turn]
    }
    const turns: Turn[] = []
    for (const [index, block] of message.content.entries()) {
      const last = turns.at(-1)
      if (block.type === 'tool_result') {
        requireCall(block.tool_use_id, { called, param: `messages[${at}].content[${index}].tool_use_id` })
        const content = block.is_error ? `Error: ${block.content}` : block.content
        turns.push({ role: 'tool', content, toolCallId: block.tool_use_id })
      } else if (last?.role === 'user')
        turns[turns.length - 1] = { ...last, content: last.content + block.text }
      else turns.push({ role: 'user', content: block.text })
    }
    return turns
  })
}

function assistantTurn({ content }: Extract<InputMessage, { role: 'assistant' }>): AssistantTurn {
  const toolCalls = content.flatMap((block): ToolCall[] =>
    block.type === 'tool_use' ? [{ id: block.id, name: block.name, arguments: block.input }] : [],
  )
  const text = content.map((block) => (block.type === 'text' ? block.text : '')).join('')
  return { role: 'assistant', content: text, toolCalls }
}
