import { z } from 'zod'
import { ChatMessage } from '../../shared/api/chat-completions.ts'
import { onlyAtDefault } from '../../shared/api/parameters.ts'

/** An answer to learn, and all that stands before it. */
export interface Row {
  readonly prompt:
    | { readonly type: 'messages'; readonly messages: readonly ChatMessage[] }
    | { readonly type: 'text'; readonly text: string }
  readonly answer: string
}

const shapes = '{"messages": […]} or {"prompt": "…", "completion": "…"}'

const noTools = 'calls of tools and functions are not supported; leave the row out'

const Weighted = z.looseObject({
  role: z.string({ error: 'is missing: a message has the role system, developer, user or assistant' }),
  /** OpenAI's: whether an answer is learned. */
  weight: z.literal([0, 1], { error: 'must be 0 or 1' }).optional(),
  tool_calls: z.array(z.unknown()).max(0, noTools).nullish(),
  function_call: z.null({ error: noTools }).optional(),
})

/** A row of each answer that is learned: all of the assistant's but those of weight 0 and one that opens the talk. */
const MessagesRow = z
  .strictObject({
    messages: z
      .array(Weighted, { error: 'must be a list of messages' })
      .min(2, 'must hold a prompt and, last, the answer of the assistant')
      .max(4096),
    tools: onlyAtDefault([]),
    functions: onlyAtDefault([]),
    parallel_tool_calls: onlyAtDefault(true, false),
  })
  .transform(({ messages }, context): Row[] => {
    if (messages.at(-1)?.role !== 'assistant')
      return refuse(context, 'the last message must be the assistant’s answer')
    const parsed = z.array(ChatMessage).safeParse(messages.map(({ weight, ...message }) => message))
    if (!parsed.success) {
      for (const { path, message } of parsed.error.issues) refuse(context, message, path)
      return z.NEVER
    }
    const answers = [...parsed.data.entries()].filter(
      ([at, { role }]) => at > 0 && role === 'assistant' && messages[at]?.weight !== 0,
    )
    if (answers.length === 0)
      return refuse(context, 'every answer has weight 0, so nothing is learned; leave the row out')
    for (const [at, { content }] of answers)
      if (content.trim() === '') return refuse(context, 'the assistant’s answer is empty', [at])
    return answers.map(([at, { content }]) => ({
      prompt: { type: 'messages', messages: parsed.data.slice(0, at) },
      answer: content,
    }))
  })

function refuse(
  context: z.RefinementCtx,
  message: string,
  path: readonly PropertyKey[] = [],
): typeof z.NEVER {
  context.addIssue({ code: 'custom', message, path: ['messages', ...path] })
  return z.NEVER
}

const text = (what: string) =>
  z.string({ error: ({ input }) => (input === undefined ? `is missing: ${what}` : 'must be a string') })
const needed = { prompt: 'a row needs a question', completion: 'a row needs a response to learn' } as const

const PairRow = z
  .strictObject({
    prompt: text(needed.prompt).min(1, 'is empty'),
    completion: text(needed.completion).regex(/\S/, `is empty: ${needed.completion}`),
  })
  .transform(({ prompt, completion }): Row[] => [
    { prompt: { type: 'text', text: prompt }, answer: completion },
  ])

/** What a line's value has to learn, at least one row, or why there is none. */
export function parseRow(value: unknown): { rows: readonly Row[] } | { problem: string } {
  if (typeof value !== 'object' || value === null || Array.isArray(value))
    return { problem: `it is ${nameOf(value)}; write one object per line, ${shapes}` }
  const schema =
    'messages' in value ? MessagesRow : 'prompt' in value || 'completion' in value ? PairRow : undefined
  if (schema === undefined) return { problem: `it has neither messages nor prompt; write ${shapes}` }
  const parsed = schema.safeParse(value)
  if (parsed.success) return { rows: parsed.data }
  const [issue] = parsed.error.issues
  if (issue?.code === 'unrecognized_keys')
    return {
      problem: `it has ${issue.keys.join(' and ')} beside ${shapes}, which is not trained on; leave it out`,
    }
  const at = issue?.path.reduce<string>(
    (path, key) =>
      typeof key === 'number' ? `${path}[${key}]` : path === '' ? String(key) : `${path}.${String(key)}`,
    '',
  )
  return { problem: [at, issue?.message].filter((part) => part !== '').join(': ') }
}

function nameOf(value: unknown): string {
  if (value === null) return 'null'
  return Array.isArray(value) ? 'a list' : `a ${typeof value}`
}
