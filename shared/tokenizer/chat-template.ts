import { Template } from '@huggingface/jinja'
import type { ChatMessage } from '../api/chat-completions.ts'
import type { EdgeBackbone } from '../backbone.ts'
import { QuartetError } from '../errors.ts'
import { type DefaultPrompt, defaultPrompt, type Render, renderWithoutDefault } from './default-prompt.ts'
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
  #learned: { readonly prompt: DefaultPrompt | undefined } | undefined

  /** Throws when the template is not valid Jinja. */
  constructor(backbone: Templated, codec: TextCodec) {
    this.#backbone = backbone
    this.#codec = codec
    this.#template = new Template(backbone.chat.template)
  }

  /** Token ids of a conversation up to where the assistant's answer begins; at most `room`. */
  encode(messages: readonly ChatMessage[], { tuned, room }: { tuned: boolean; room: number }): number[] {
    const rendered = this.#rendered(messages, { tuned })
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
  renders({ template }: Templated['chat']): boolean {
    return this.#backbone.chat.template === template
  }

  #rendered(messages: readonly ChatMessage[], { tuned }: { tuned: boolean }): string {
    const plain = messages.map(({ content, role }) => ({
      role: role === 'developer' ? 'system' : role,
      content: this.#codec.addedTokens.protect(content),
    }))
    try {
      return tuned
        ? renderWithoutDefault(plain, { render: this.#render, prompt: this.#defaultPrompt() })
        : this.#render(plain)
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

  readonly #render: Render = (messages) => {
    const { bos, eos } = this.#backbone.tokens
    return this.#template.render({
      messages,
      add_generation_prompt: true,
      bos_token: this.#spell(bos),
      eos_token: this.#spell(eos[0]),
    })
  }

  /** Tuned models were trained without it; only the untuned backbone gets it. One that holds a date is read anew. */
  #defaultPrompt(): DefaultPrompt | undefined {
    if (this.#learned !== undefined) return this.#learned.prompt
    const prompt = defaultPrompt(this.#render, this.#spell(this.#backbone.tokens.bos))
    if (!this.#backbone.chat.template.includes('strftime_now')) this.#learned = { prompt }
    return prompt
  }

  #spell(token: number | null | undefined): string {
    return token === null || token === undefined
      ? ''
      : new TextDecoder().decode(this.#codec.vocabulary.spelling(token))
  }
}
