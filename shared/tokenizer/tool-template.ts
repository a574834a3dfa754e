import type { AssistantTurn, ShownFunction, ToolCall, Turn } from './conversation.ts'

/** A message as a chat template reads it. */
export interface TemplateMessage {
  readonly role: string
  readonly content: string
  readonly [field: string]: unknown
}

/** A chat template applied to messages, with what else it may read. May throw. */
export type RenderWith = (
  messages: readonly TemplateMessage[],
  settings: Readonly<Record<string, unknown>>,
) => string

/** How calls are written where a template has no words for them. */
export interface CallSpelling {
  /** Tells a model which functions there are and how to call them. */
  readonly instructions: (functions: readonly ShownFunction[]) => string
  /** Calls as the model writes them itself; `marker` may be a special token. */
  readonly written: (calls: readonly ToolCall[]) => { readonly marker: string; readonly text: string }
}

/** How a chat template tells of functions, of their calls and of the results. */
export interface ToolTemplate {
  /**
   * The place where the template reads functions: the variable `tools` (of objects or of texts), a field of the system
   * message, or nowhere.
   */
  readonly functions: 'objects' | 'texts' | 'system-field' | 'unknown'
  /** How many calls of one message it shows. */
  readonly calls: 'many' | 'one' | 'none'
  readonly results: boolean
  /** A conversation with a function and a call of `probe.called`, as far as it shows them. */
  readonly sample: string
}

/** Names and values that no template has of its own. */
export const probe = {
  offered: 'quartet_offered',
  called: 'quartet_called',
  argument: 'quartet_argument',
} as const
const result = 'quartet_result'

const offered: ShownFunction = {
  name: probe.offered,
  description: 'Probes.',
  parameters: { type: 'object', properties: { [probe.argument]: { type: 'string' } } },
}
const question: TemplateMessage = { role: 'user', content: 'Question?' }
const instruction: TemplateMessage = { role: 'system', content: 'Instruction.' }

/**
 * Learns how a template writes functions, by rendering it. A template that shows the functions was written for them.
 */
export function toolTemplate(render: RenderWith): ToolTemplate {
  const shown = (messages: readonly TemplateMessage[], settings = {}): string => {
    try {
      return render(messages, settings)
    } catch {
      return ''
    }
  }
  const field = { ...instruction, tools: JSON.stringify([offered]) }
  const ways = [
    { functions: 'objects', settings: settingsFor('objects', [offered]), before: [] },
    { functions: 'objects', settings: settingsFor('objects', [offered]), before: [instruction] },
    { functions: 'texts', settings: settingsFor('texts', [offered]), before: [] },
    { functions: 'system-field', settings: {}, before: [field] },
  ] as const
  const told = ways
    .map((way) => ({ ...way, text: shown([...way.before, question], way.settings) }))
    .find(({ text }) => text.includes(probe.offered))
  if (told === undefined) return { functions: 'unknown', calls: 'none', results: false, sample: '' }
  const { before, functions, settings, text } = told
  const called = (count: number) =>
    shown(
      [...before, question, callsMessage('', probeCalls(count)), resultMessage(result, templateId(0))],
      settings,
    )
  const one = called(1)
  const two = called(2)
  const calls = !one.includes(probe.called)
    ? 'none'
    : two.split(probe.called).length > one.split(probe.called).length
      ? 'many'
      : 'one'
  return { functions, calls, results: one.includes(result), sample: `${text}\n${one}` }
}

function settingsFor(
  functions: ToolTemplate['functions'],
  shown: readonly ShownFunction[],
): Readonly<Record<string, unknown>> {
  if (functions === 'objects') return { tools: shown.map(asTool) }
  return functions === 'texts' ? { tools: shown.map((each) => JSON.stringify(asTool(each))) } : {}
}

const probeCalls = (count: number): ToolCall[] =>
  Array.from({ length: count }, (_, at) => ({
    id: templateId(at),
    name: probe.called,
    arguments: { [probe.argument]: 'x' },
  }))

export interface ToolConversation {
  readonly turns: readonly Turn[]
  /** The functions that the model may call; none where it may call nothing. */
  readonly functions: readonly ShownFunction[]
  readonly template: ToolTemplate
  readonly spelling: CallSpelling
  /** Makes a text of the client's plain, whatever special tokens it spells. */
  readonly protect: (text: string) => string
}

export interface TemplateInput {
  readonly messages: readonly TemplateMessage[]
  readonly settings: Readonly<Record<string, unknown>>
  /** The first message tells of functions, in our words. */
  readonly isInstructed?: true
}

/** A conversation in the words that a template has for functions; anything else is written into messages. */
export function forTemplate(conversation: ToolConversation): TemplateInput {
  const { functions, protect, spelling, template } = conversation
  const messages = template.calls === 'one' ? oneCallEach(conversation.turns) : conversation.turns
  const ids = new Map<string, string>()
  const idOf = (id: string): string => {
    const known = ids.get(id) ?? templateId(ids.size)
    ids.set(id, known)
    return known
  }
  const plain = messages.map((turn) => templateMessage(turn, { ...conversation, idOf }))
  const shown = functions.map((each) => protectedValue(each, protect))
  if (functions.length === 0) return { messages: joinedResults(plain), settings: {} }
  switch (template.functions) {
    case 'objects':
    case 'texts':
      return { messages: joinedResults(plain), settings: settingsFor(template.functions, shown) }
    case 'system-field': {
      const first = plain[0]?.role === 'system' ? plain[0] : { role: 'system', content: '' }
      const others = first === plain[0] ? plain.slice(1) : plain
      return {
        messages: [{ ...first, tools: JSON.stringify(shown) }, ...joinedResults(others)],
        settings: {},
      }
    }
    case 'unknown':
      return {
        messages: instructed(joinedResults(plain), protect(spelling.instructions(functions))),
        settings: {},
        isInstructed: true,
      }
  }
}

/** The same conversation with its instructions in the first user's message, for templates without system messages. */
export function withoutSystem(messages: readonly TemplateMessage[]): readonly TemplateMessage[] {
  const [system, ...others] = messages
  const first = others.findIndex(({ role }) => role === 'user')
  if (system?.role !== 'system' || first === -1) return messages
  return others.map((message, at) =>
    at === first ? { ...message, content: `${system.content}\n\n${message.content}` } : message,
  )
}

function instructed(messages: readonly TemplateMessage[], text: string): readonly TemplateMessage[] {
  const [first, ...others] = messages
  return first?.role === 'system'
    ? [{ ...first, content: `${first.content}\n\n${text}` }, ...others]
    : [{ role: 'system', content: text }, ...messages]
}

function templateMessage(
  turn: Turn,
  { idOf, protect, spelling, template }: ToolConversation & { idOf: (id: string) => string },
): TemplateMessage & { readonly isResult?: true } {
  switch (turn.role) {
    case 'tool':
      return template.results
        ? resultMessage(protect(turn.content), idOf(turn.toolCallId))
        : {
            role: 'user',
            content: `Result of the call ${idOf(turn.toolCallId)}:\n${protect(turn.content)}`,
            isResult: true,
          }
    case 'assistant': {
      const calls = (turn.toolCalls ?? []).map((call) => ({ ...call, id: idOf(call.id) }))
      const said = spokenMessage(turn, protect)
      if (calls.length === 0) return said
      if (template.calls !== 'none')
        return { ...said, ...callsMessage(said.content, protectedValue(calls, protect)) }
      const { marker, text } = spelling.written(calls)
      const parts = [said.content, `${marker}${protect(text)}`].filter((part) => part !== '')
      return { ...said, content: parts.join('\n') }
    }
    default:
      return spokenMessage(turn, protect)
  }
}

/** A message as it is, its calls left out. */
export function spokenMessage(turn: Turn, protect: (text: string) => string): TemplateMessage {
  const role = turn.role === 'developer' ? 'system' : turn.role
  const thought = turn.role === 'assistant' ? turn.reasoning_content : undefined
  return {
    role,
    content: protect(turn.content),
    ...(typeof thought === 'string' ? { reasoning_content: protect(thought) } : {}),
  }
}

/** Results as user's messages follow one another, which few templates allow: they become one. */
function joinedResults(
  messages: readonly (TemplateMessage & { readonly isResult?: true })[],
): TemplateMessage[] {
  const joined: TemplateMessage[] = []
  let isBehindResult = false
  for (const { isResult = false, ...message } of messages) {
    const last = joined.at(-1)
    const { content, role } = message
    if (isResult && isBehindResult && last !== undefined)
      joined[joined.length - 1] = { role, content: `${last.content}\n\n${content}` }
    else joined.push({ ...message, role, content })
    isBehindResult = isResult
  }
  return joined
}

/** Each call in a message of its own, with its result behind it. */
function oneCallEach(turns: readonly Turn[]): readonly Turn[] {
  const taken = new Set<Turn>()
  return turns.flatMap((turn, at): readonly Turn[] => {
    if (taken.has(turn)) return []
    if (turn.role !== 'assistant' || (turn.toolCalls?.length ?? 0) < 2) return [turn]
    const { toolCalls = [], ...said } = turn
    return toolCalls.flatMap((call, index): readonly Turn[] => {
      const single: AssistantTurn = { ...said, content: index === 0 ? said.content : '', toolCalls: [call] }
      const result = turns
        .slice(at + 1)
        .find((later) => later.role === 'tool' && later.toolCallId === call.id)
      if (result === undefined) return [single]
      taken.add(result)
      return [single, result]
    })
  })
}

const callsMessage = (content: string, calls: readonly ToolCall[]): TemplateMessage => ({
  role: 'assistant',
  content,
  tool_calls: calls.map(({ arguments: given, id, name }) => ({
    id,
    type: 'function',
    function: { name, arguments: given },
  })),
})

const resultMessage = (content: string, id: string): TemplateMessage => ({
  role: 'tool',
  content,
  tool_call_id: id,
})

const asTool = (shown: ShownFunction) => ({ type: 'function', function: shown })

/** Mistral's templates take ids of nine letters and digits alone. */
const templateId = (at: number): string => `call${String(at).padStart(5, '0')}`

function protectedValue<T>(value: T, protect: (text: string) => string): T
function protectedValue(value: unknown, protect: (text: string) => string): unknown {
  if (typeof value === 'string') return protect(value)
  if (Array.isArray(value)) return value.map((each: unknown) => protectedValue(each, protect))
  if (typeof value !== 'object' || value === null) return value
  return Object.fromEntries(
    Object.entries(value).map(([key, each]: [string, unknown]) => [
      protect(key),
      protectedValue(each, protect),
    ]),
  )
}
