import { BoundedTemplate, maxTemplateCharacters } from '../../shared/tokenizer/bounded-template.ts'
import { invalidBackbone } from '../backbone/invalid-backbone.ts'

interface Message {
  readonly role: 'system' | 'user'
  readonly content: string
}

const system: Message = { role: 'system', content: 'Instruction.' }
const user: Message = { role: 'user', content: 'Question?' }

/** The texts that a template calls `bos_token` and `eos_token`; empty for a model that has none. */
export interface FrameTokens {
  readonly beginToken: string
  readonly endToken: string
}

/** A conversation in a chat template (Jinja), without a generation prompt. */
function renderChat(
  template: string,
  { messages, beginToken, endToken }: FrameTokens & { readonly messages: readonly Message[] },
): string {
  return new BoundedTemplate(template).render({
    messages,
    bos_token: beginToken,
    eos_token: endToken,
    add_generation_prompt: false,
  })
}

/**
 * A user's question as the template writes it. Some templates demand a system message in front of it. Throws what the
 * template throws.
 */
export function renderQuestion(template: string, frame: FrameTokens): string {
  try {
    return renderChat(template, { messages: [user], ...frame })
  } catch (refusal) {
    try {
      return renderChat(template, { messages: [system, user], ...frame })
    } catch {
      throw refusal
    }
  }
}

/** A chat template (Jinja), blank for a model without one, and where it stands: a file, or a file's key. */
export interface StatedTemplate {
  readonly template: string
  readonly place: string
}

const remedy = 'give another template with --chat-template FILE'

/** Throws `backbone_invalid` unless the template parses and writes a user's question. */
export function checkChatTemplate({ template, place }: StatedTemplate, frame: FrameTokens): void {
  const invalid = (why: string, cause?: unknown) =>
    invalidBackbone(place, `the chat template ${why}; ${remedy}`, cause)
  if (template.length > maxTemplateCharacters)
    throw invalid(`has more than ${maxTemplateCharacters} characters`)
  let rendered: string
  try {
    rendered = renderQuestion(template, frame)
  } catch (error) {
    throw invalid(`does not render (${error instanceof Error ? error.message : error})`, error)
  }
  if (rendered === '') throw invalid('renders a conversation to nothing')
  if (!rendered.includes(user.content))
    throw invalid(
      "leaves the text of the user's message out: it must read a message's content as a text, not as a list of parts",
    )
}

/**
 * The template for chats among those that a model has by name; empty where all are blank. Throws `backbone_invalid`
 * when that is unclear.
 */
export function chosenTemplate(templates: ReadonlyMap<string, string>, path: string): string {
  const written = new Map([...templates].filter(([, template]) => template.trim() !== ''))
  const [only] = written.size === 1 ? written.values() : []
  const chosen = written.get('default') ?? only
  if (chosen !== undefined || written.size === 0) return chosen ?? ''
  throw invalidBackbone(
    path,
    `chat_template has the templates ${[...written.keys()].join(', ')} and none named default; name one of them default, or give one with --chat-template FILE`,
  )
}
