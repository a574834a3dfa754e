import { Template } from '@huggingface/jinja'
import type { ChatMessage } from '../api/chat-completions.ts'
import type { EdgeBackbone } from '../backbone.ts'
import { QuartetError } from '../errors.ts'
import type { TextCodec } from './text-codec.ts'

type Templated = Pick<EdgeBackbone, 'chat' | 'tokens'>

const templates = new WeakMap<TextCodec, ChatTemplate>()

/** Conversations as the backbone was trained to read them. */
export class ChatTemplate {
  /** The template of a backbone, parsed once. */
  static of({ backbone }: { backbone: Templated }, codec: TextCodec): ChatTemplate {
    const known = templates.get(codec)
    if (known?.renders(backbone.chat)) return known
    const template = new ChatTemplate(backbone, codec)
    templates.set(codec, template)
    return template
  }

  readonly #template: Template
  readonly #backbone: Templated
  readonly #codec: TextCodec

  /** Throws when the template is not valid Jinja. */
  constructor(backbone: Templated, codec: TextCodec) {
    this.#backbone = backbone
    this.#codec = codec
    this.#template = new Template(backbone.chat.template)
  }

  /** Token ids of a conversation up to where the assistant's answer begins; at most `room`. */
  encode(messages: readonly ChatMessage[], { tuned, room }: { tuned: boolean; room: number }): number[] {
    const rendered = this.#withoutDefault(this.#render(messages), { messages, tuned })
    const ids = this.#codec.encodeRendered(rendered, { tokens: room, param: 'messages' })
    if (ids.length > 0) return ids
    const why =
      this.#backbone.chat.template === ''
        ? 'this model has no chat template; use /v1/completions'
        : "the model's chat template renders them to nothing"
    throw new QuartetError('invalid_request', `messages: ${why}`, { param: 'messages' })
  }

  /** Throws unless the template writes a user's question, with a system message in front where it demands one. */
  check(room: number): void {
    const question = { role: 'user', content: 'a', name: undefined } as const
    const system = { role: 'system', content: 'b', name: undefined } as const
    try {
      this.encode([question], { tuned: true, room })
    } catch (refusal) {
      try {
        this.encode([system, question], { tuned: true, room })
      } catch {
        throw refusal
      }
    }
  }

  /** Whether this is the template that `chat` describes. */
  renders({ defaultPrefix, template }: Templated['chat']): boolean {
    const { chat } = this.#backbone
    return chat.template === template && chat.defaultPrefix === defaultPrefix
  }

  #render(messages: readonly ChatMessage[]): string {
    const { bos, eos } = this.#backbone.tokens
    try {
      return this.#template.render({
        messages: messages.map(({ content, role }) => ({
          role: role === 'developer' ? 'system' : role,
          content: this.#codec.addedTokens.protect(content),
        })),
        add_generation_prompt: true,
        bos_token: this.#spell(bos),
        eos_token: this.#spell(eos[0]),
      })
    } catch (cause) {
      const reason = cause instanceof Error ? cause.message : 'it failed'
      throw new QuartetError(
        'invalid_request',
        `messages: the model's chat template refuses them: ${reason}`,
        {
          param: 'messages',
          cause,
        },
      )
    }
  }

  /** Tuned models were trained without the default system prompt; only the untuned backbone gets it. */
  #withoutDefault(
    rendered: string,
    { messages, tuned }: { messages: readonly ChatMessage[]; tuned: boolean },
  ): string {
    const { chat, tokens } = this.#backbone
    const hasSystem = messages.some(({ role }) => role === 'system' || role === 'developer')
    if (!tuned || hasSystem) return rendered
    for (const begin of ['', this.#spell(tokens.bos)])
      if (rendered.startsWith(begin + chat.defaultPrefix))
        return begin + rendered.slice(begin.length + chat.defaultPrefix.length)
    return rendered
  }

  #spell(token: number | null | undefined): string {
    return token === null || token === undefined
      ? ''
      : new TextDecoder().decode(this.#codec.vocabulary.spelling(token))
  }
}
