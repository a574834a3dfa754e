import { QuartetError } from '../errors.ts'
import type { Turn } from './conversation.ts'
import type { Render } from './default-prompt.ts'

interface Conversation {
  readonly messages: readonly Turn[]
  /** Its tokens. */
  readonly ids: readonly number[]
  /** Whether the answer continues the last message, or nothing follows it. */
  readonly isContinued: boolean
}

/** A chat template, with the settings of a request, and its tokenizer. */
interface Writing {
  /** Messages up to the end of the last one. Throws `QuartetError` where the template refuses them. */
  readonly rendered: (messages: readonly Turn[]) => string
  /** Throws `QuartetError` where the text is too long. */
  readonly encoded: (text: string) => readonly number[]
  /** The text behind an answer (`closingOf`). */
  readonly closing: string
  /** The template's `eos_token`. */
  readonly ending: string
}

/**
 * How many of a conversation's tokens stand in front of its newest turn: everything up to the last message of the
 * assistant, but for one that the answer continues; or the system messages in front where the assistant has said
 * nothing. 0 where nothing stands there, and where the template writes that otherwise once the newest turn follows.
 */
export function newestTurnOf({ ids, isContinued, messages }: Conversation, writing: Writing): number {
  const count = messagesInFront(isContinued ? messages.slice(0, -1) : messages)
  if (count === 0) return 0
  for (const text of textsInFront(messages, { ...writing, count })) {
    const front = attempted(() => writing.encoded(text)) ?? []
    // One token alone would be the attention sink, behind which rows stand in any case.
    const isInFront = front.length > 1 && front.every((id, at) => id === ids[at])
    if (isInFront) return front.length < ids.length ? front.length : 0
  }
  return 0
}

/** How many messages end with the assistant's last one, or are the system's in front where the assistant has said nothing. */
function messagesInFront(messages: readonly Turn[]): number {
  const said = messages.findLastIndex(({ role }) => role === 'assistant')
  if (said !== -1) return said + 1
  const first = messages.findIndex(({ role }) => role !== 'system' && role !== 'developer')
  return first === -1 ? messages.length : first
}

/** The texts that the template may have written of a conversation's first `count` messages when others follow. */
function* textsInFront(
  messages: readonly Turn[],
  { closing, count, ending, rendered }: Writing & { readonly count: number },
): Generator<string> {
  const closed = attempted(() => rendered(messages.slice(0, count)))
  if (closed !== undefined) yield closed
  // Some end every conversation with that token, and no turn within one (Phi-4-mini).
  if (closed !== undefined && ending !== '' && closed.endsWith(ending)) yield closed.slice(0, -ending.length)
  // Some write an answer otherwise while it is the last one: there, the front ends where that answer is closed.
  const next = messages[count]
  if (next === undefined || closing === '') return
  const followed = attempted(() => rendered(messages.with(count, { ...next, content: mark }))) ?? ''
  const end = followed.lastIndexOf(closing, followed.lastIndexOf(mark))
  if (end !== -1) yield followed.slice(0, end + closing.length)
}

/** A text that no template has of its own. */
const mark = 'quartet_mark'

/** The text that a template writes behind an answer; empty where it takes no conversation without a system message. */
export function closingOf(render: Render): string {
  try {
    const text = render([
      { role: 'user', content: 'a' },
      { role: 'assistant', content: mark },
    ])
    const at = text.lastIndexOf(mark)
    return at === -1 ? '' : text.slice(at + mark.length)
  } catch {
    return ''
  }
}

/** The result of `work`; undefined where it refuses. */
function attempted<T>(work: () => T): T | undefined {
  try {
    return work()
  } catch (refusal) {
    if (refusal instanceof QuartetError) return undefined
    throw refusal
  }
}
