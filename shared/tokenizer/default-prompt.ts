/** A chat template applied to a conversation, up to where the assistant's next answer begins. May throw. */
export type Render = (messages: readonly { readonly role: string; readonly content: string }[]) => string

/** The text that a template puts into a conversation without a system message. */
export interface DefaultPrompt {
  /** The tokens in front of it: the beginning-of-sequence token, or what opens the first user's turn. */
  readonly before: string
  readonly text: string
}

const question = 'Question?'
const answer = 'Answer.'

/**
 * The default system prompt of a chat template, learned from conversations that it renders; undefined when it has none.
 * A template may write it as a turn of its own (Qwen 2.5, SmolLM, Granite, Mistral Small; Llama 3 with a date) or into
 * the first user's turn (derivatives of Llama 2). `begin` is the text of the beginning-of-sequence token.
 *
 * A user's first turn and a later one differ by the default prompt alone. Both end alike; the later one also shows what
 * opens a user's turn. Where a turn of the default prompt ends with the same text as an assistant's, the border between
 * it and the user's turn lies where the text reads like the beginning of a turn again.
 */
export function defaultPrompt(render: Render, begin: string): DefaultPrompt | undefined {
  let first: string
  let later: string
  try {
    first = render([{ role: 'user', content: question }])
    later = render([
      { role: 'user', content: question },
      { role: 'assistant', content: answer },
      { role: 'user', content: question },
    ])
  } catch {
    return undefined
  }
  const alike = commonEnd(first, later)
  const asked = first.lastIndexOf(question)
  const answered = later.lastIndexOf(answer)
  if (asked < first.length - alike || answered === -1) return undefined
  const between = later.slice(answered + answer.length, later.lastIndexOf(question))
  // A template that opens every turn with the beginning token has it as a part of the turn.
  const starts = begin !== '' && first.startsWith(begin) ? [0, begin.length] : [0]
  const opened = starts.map((start) => start + openingOf(first.slice(start, asked), between).length)
  const inTurn = Math.max(...opened.filter((end, at) => end > (starts[at] ?? 0)), 0)
  if (inTurn > 0) return promptBetween(first, { from: inTurn, to: asked })
  const border = turnBorder(first, { from: first.length - alike, to: asked, starts })
  const isApart = starts.length > 1 && !first.startsWith(begin, border)
  return promptBetween(first, { from: isApart ? begin.length : 0, to: border })
}

/** `render(messages)` without the template's default system prompt; a system message of the conversation stays. */
export function renderWithoutDefault(
  messages: Parameters<Render>[0],
  { render, prompt }: { render: Render; prompt: DefaultPrompt | undefined },
): string {
  const rendered = render(messages)
  if (prompt === undefined) return rendered
  const marker = prompt.before + prompt.text
  if (!rendered.startsWith(marker)) return rendered
  const isOwn =
    messages.some(({ role }) => role === 'system') &&
    !render(
      messages.map((message) => (message.role === 'system' ? { ...message, content: question } : message)),
    ).startsWith(marker)
  return isOwn ? rendered : prompt.before + rendered.slice(marker.length)
}

function promptBetween(text: string, { from, to }: { from: number; to: number }): DefaultPrompt | undefined {
  return to > from ? { before: text.slice(0, from), text: text.slice(from, to) } : undefined
}

/** The longest end of `between`, which lies in front of a later question, that opens the first one too. */
function openingOf(first: string, between: string): string {
  for (let at = 0; at < between.trimEnd().length; at++)
    if (first.startsWith(between.slice(at))) return between.slice(at)
  return ''
}

/** Where, between `from` and `to`, the text reads most like the beginning of a turn; the last of equals. */
function turnBorder(
  text: string,
  { from, starts, to }: { from: number; to: number; starts: readonly number[] },
): number {
  let border = from + (/^\s*/.exec(text.slice(from, to))?.[0].length ?? 0)
  let most = 1
  for (let at = from; at < to; at++) {
    const like = Math.max(...starts.map((start) => commonStart(text.slice(at, to), text.slice(start))))
    if (like < most) continue
    most = like
    border = at
  }
  return border
}

function commonStart(a: string, b: string): number {
  let length = 0
  while (length < a.length && length < b.length && a[length] === b[length]) length++
  return length
}

function commonEnd(a: string, b: string): number {
  let length = 0
  while (length < a.length && length < b.length && a.at(-1 - length) === b.at(-1 - length)) length++
  return length
}
