import { z } from 'zod'
import { ChatMessage } from '../api/chat-completions.ts'
import { onlyAtDefault, Text } from '../api/parameters.ts'

/** An answer to learn, and all that stands before it. */
export interface Row {
  readonly prompt:
    | { readonly type: 'messages'; readonly messages: readonly ChatMessage[] }
    | { readonly type: 'text'; readonly text: string }
  readonly answer: string
}

const shapes = '{"messages": […]} or {"prompt": "…", "completion": "…"}'

const noTools = 'calls of tools and functions are not supported; leave the row out'

const Weighted = z.looseObject(
  {
    role: z.string({ error: 'is missing: a message has the role system, developer, user or assistant' }),
    /** OpenAI's: whether an answer is learned. */
    weight: z.literal([0, 1], { error: 'must be 0 or 1' }).optional(),
    tool_calls: z.array(z.unknown()).max(0, noTools).nullish(),
    function_call: z.null({ error: noTools }).optional(),
  },
  { error: 'must be a message, such as {"role": "user", "content": "…"}' },
)

/** A row of each answer that is learned: all of the assistant's but those of weight 0 and one that opens the talk. */
const MessagesRow = z
  .object({
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
    const parsed = z.array(ChatMessage).safeParse(messages.map(({ weight, ...message }) => known(message)))
    if (!parsed.success) {
      for (const { code, message, path } of parsed.error.issues)
        refuse(context, code === 'too_small' ? 'is empty; write a text, or leave the row out' : message, path)
      return z.NEVER
    }
    for (const [at, { role, content }] of parsed.data.entries())
      if (role === 'user' && content.trim() === '')
        return refuse(context, 'the user’s message is empty; write what was asked, or leave the row out', [
          at,
        ])
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
  .object({
    prompt: text(needed.prompt)
      .regex(/\S/, 'is empty; write what was asked, or leave the row out')
      .pipe(Text),
    completion: text(needed.completion).regex(/\S/, `is empty: ${needed.completion}`).pipe(Text),
  })
  .transform(({ prompt, completion }): Row[] => [
    { prompt: { type: 'text', text: prompt }, answer: completion },
  ])

/** A conversation as TRL writes it: messages for the prompt, and the answer as a message. */
const TurnsRow = z
  .object({
    prompt: z
      .array(z.looseObject({}), { error: 'must be a list of messages, as completion is one' })
      .min(1, 'is empty; write what was asked, or leave the row out')
      .max(4096, 'has more than 4096 messages; split the conversation'),
    completion: z
      .array(z.looseObject({ role: z.literal('assistant', { error: 'must be assistant' }) }), {
        error: 'must be a list of one assistant’s message, as prompt is a list of messages',
      })
      .length(1, 'must be one assistant’s message'),
  })
  .transform(({ prompt, completion }): unknown => ({
    messages: [...prompt.map((message) => ({ ...message, weight: 0 })), ...completion],
  }))
  .pipe(MessagesRow)

/** Keys of a message that mean something; a tool's are refused and not ignored. */
const messageKeys = new Set(ChatMessage.options.flatMap(({ shape }) => Object.keys(shape)))
const rowKeys = {
  messages: ['messages', 'tools', 'functions', 'parallel_tool_calls'],
  pair: ['prompt', 'completion'],
} as const

const known = (message: Readonly<Record<string, unknown>>) =>
  Object.fromEntries(Object.entries(message).filter(([key]) => messageKeys.has(key)))

/**
 * Reads a line's value: its rows to learn, at least one, and the keys beside them that are not read; or the problem
 * with it.
 */
export function parseRow(
  value: unknown,
): { rows: readonly Row[]; ignored: readonly string[] } | { problem: string } {
  if (typeof value !== 'object' || value === null || Array.isArray(value))
    return { problem: `it is ${nameOf(value)}; write one object per line, ${shapes}` }
  const isMessages = 'messages' in value
  if (!isMessages && !('prompt' in value) && !('completion' in value)) {
    const keys = Object.keys(value)
    const has = keys.length === 0 ? 'it has no keys' : `it has the keys ${keys.slice(0, 5).join(', ')}`
    return { problem: `it has neither messages nor prompt (${has}); write ${shapes}` }
  }
  const isTurns = !isMessages && 'prompt' in value && Array.isArray(value.prompt)
  const parsed = (isMessages ? MessagesRow : isTurns ? TurnsRow : PairRow).safeParse(value)
  if (parsed.success)
    return { rows: parsed.data, ignored: ignoredOf(value, isMessages ? 'messages' : 'pair') }
  const [issue] = parsed.error.issues
  const at = issue?.path.reduce<string>(
    (path, key) =>
      typeof key === 'number' ? `${path}[${key}]` : path === '' ? String(key) : `${path}.${String(key)}`,
    '',
  )
  return { problem: [at, issue?.message].filter((part) => part !== '').join(': ') }
}

/** Keys of a row and of its messages that are not read. */
function ignoredOf(value: object, shape: keyof typeof rowKeys): readonly string[] {
  const read: readonly string[] = rowKeys[shape]
  const messages = Object.entries(value).flatMap(([key, inner]) =>
    read.includes(key) && Array.isArray(inner)
      ? inner.flatMap((message: unknown) =>
          typeof message === 'object' && message !== null
            ? Object.keys(message).flatMap((name) =>
                messageKeys.has(name) || name === 'weight' ? [] : [`${key}[].${name}`],
              )
            : [],
        )
      : [],
  )
  return [...new Set([...Object.keys(value).filter((key) => !read.includes(key)), ...messages])]
}

function nameOf(value: unknown): string {
  if (value === null) return 'null'
  return Array.isArray(value) ? 'a list' : `a ${typeof value}`
}
