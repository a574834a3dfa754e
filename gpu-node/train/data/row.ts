import { z } from 'zod'
import { ChatMessage } from '../../../shared/api/chat-completions.ts'

/** What a line of training data asks and answers. */
export interface Row {
  readonly prompt:
    | { readonly type: 'messages'; readonly messages: readonly ChatMessage[] }
    | { readonly type: 'text'; readonly text: string }
  readonly answer: string
}

const shapes = '{"messages": […]} or {"prompt": "…", "completion": "…"}'

const Weighted = z.looseObject({
  role: z.string(),
  weight: z.literal([0, 1], { error: 'must be 0 or 1' }).optional(),
})

const MessagesRow = z
  .strictObject({
    messages: z
      .array(Weighted, { error: 'must be a list of messages' })
      .min(2, 'must hold a prompt and, last, the answer of the assistant')
      .max(4096),
  })
  .transform(({ messages }, context): Row => {
    const last = messages.at(-1)
    if (last?.role !== 'assistant') return refuse(context, 'the last message must be the assistant’s answer')
    if (last.weight === 0)
      return refuse(context, 'the last answer has weight 0, and only the last is trained; leave the row out')
    const parsed = z.array(ChatMessage).safeParse(messages.map(({ weight, ...message }) => message))
    if (!parsed.success) {
      for (const { path, message } of parsed.error.issues) refuse(context, message, path)
      return z.NEVER
    }
    const answer = parsed.data.at(-1)?.content ?? ''
    if (answer === '') return refuse(context, 'the assistant’s answer is empty')
    return { prompt: { type: 'messages', messages: parsed.data.slice(0, -1) }, answer }
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
    completion: text(needed.completion).min(1, `is empty: ${needed.completion}`),
  })
  .transform(
    ({ prompt, completion }): Row => ({ prompt: { type: 'text', text: prompt }, answer: completion }),
  )

/** The row in a line's value, or why there is none. */
export function parseRow(value: unknown): { row: Row } | { problem: string } {
  if (typeof value !== 'object' || value === null || Array.isArray(value))
    return { problem: `it is ${nameOf(value)}; write one object per line, ${shapes}` }
  const schema =
    'messages' in value ? MessagesRow : 'prompt' in value || 'completion' in value ? PairRow : undefined
  if (schema === undefined) return { problem: `it has neither messages nor prompt; write ${shapes}` }
  const parsed = schema.safeParse(value)
  if (parsed.success) return { row: parsed.data }
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
