import { Template } from '@huggingface/jinja'
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
  return new Template(template).render({
    messages,
    bos_token: beginToken,
    eos_token: endToken,
    add_generation_prompt: false,
  })
}

const maxTemplateCharacters = 256 * 1024

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

/** Throws `backbone_invalid` unless the template parses and writes a user's question. */
export function checkChatTemplate(template: string, frame: FrameTokens): void {
  if (template.length > maxTemplateCharacters)
    throw invalidBackbone('the chat template', `it has more than ${maxTemplateCharacters} characters`)
  let rendered: string
  try {
    rendered = renderQuestion(template, frame)
  } catch (error) {
    throw invalidBackbone(
      'the chat template',
      `it does not render (${error instanceof Error ? error.message : error})`,
      error,
    )
  }
  if (rendered === '') throw invalidBackbone('the chat template', 'it renders a conversation to nothing')
  if (!rendered.includes(user.content))
    throw invalidBackbone(
      'the chat template',
      "it leaves the text of the user's message out; take one that reads a message's content as a text, not as a list of parts",
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
    `chat_template has the templates ${[...written.keys()].join(', ')} and none named default; name one of them default`,
  )
}
