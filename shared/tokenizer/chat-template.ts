import type { EdgeBackbone } from '../backbone.ts'
import { QuartetError } from '../errors.ts'
import { TemplateLimit } from './bounded-interpreter.ts'
import { BoundedTemplate } from './bounded-template.ts'
import type { ShownFunction, Turn } from './conversation.ts'
import { type DefaultPrompt, defaultPrompt, type Render, renderWithoutDefault } from './default-prompt.ts'
import { closingOf, newestTurnOf } from './newest-turn.ts'
import type { TextCodec } from './text-codec.ts'
import {
  type CallSpelling,
  forTemplate,
  spokenMessage,
  type TemplateInput,
  type TemplateMessage,
  type ToolTemplate,
  toolTemplate,
  withoutSystem,
} from './tool-template.ts'

type Templated = Pick<EdgeBackbone, 'chat' | 'tokens'>

const templates = new WeakMap<TextCodec, ChatTemplate>()

/** A request's settings for the template, besides its messages. */
type TemplateSettings = Readonly<Record<string, string | number | boolean>>

/** Where a prompt ends: where the assistant's next answer begins, behind the last message, or within it. */
export type PromptEnd = 'answer' | 'message' | 'within'

export interface Encoding {
  readonly tuned: boolean
  readonly room: number
  readonly settings?: TemplateSettings
  /** 'answer' by default. */
  readonly end?: PromptEnd
  /** The client's name for the messages; 'messages' by default. */
  readonly param?: 'messages' | 'input'
  readonly tools?: ShownTools | undefined
}

/** Functions that a conversation tells of. */
export interface ShownTools {
  /** The functions that the model may call. The history may hold calls of others. */
  readonly functions: readonly ShownFunction[]
  readonly spelling: CallSpelling
  /** How the answer begins, which the prompt ends with; empty where that is the model's choice. */
  readonly opening: string
}

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

  readonly #template: BoundedTemplate
  readonly #backbone: Templated
  readonly #codec: TextCodec
  #learned: { readonly prompt: DefaultPrompt | undefined } | undefined
  #tools: ToolTemplate | undefined
  /** The text behind an answer. */
  #closing: string | undefined
  #header: readonly number[] | undefined

  /** Throws when the template is not valid Jinja. */
  constructor(backbone: Templated, codec: TextCodec) {
    this.#backbone = backbone
    this.#codec = codec
    this.#template = new BoundedTemplate(backbone.chat.template)
  }

  /** How the template tells of functions. */
  get tools(): ToolTemplate {
    this.#tools ??= toolTemplate((messages, settings) => this.#renderWith(settings)(messages))
    return this.#tools
  }

  /** Token ids of a conversation; at most `room`. */
  encode(
    messages: readonly Turn[],
    { end = 'answer', param = 'messages', room, settings = {}, tools, tuned }: Encoding,
  ): number[] {
    const rendered = this.#rendered(messages, { tuned, settings, end, param, tools })
    const ids = this.#codec.encodeRendered(rendered, { tokens: room, param })
    if (ids.length > 0) return ids
    const why =
      this.#backbone.chat.template === ''
        ? 'this model has no chat template; use /v1/completions'
        : "the model's chat template renders them to nothing"
    throw new QuartetError('invalid_request', `${param}: ${why}`, { param })
  }

  /**
   * How many of a conversation's tokens stand behind late prompt rows: the generation header, as it is written for these
   * messages and settings, and what is given of the answer. Undefined where that is the header that `generationHeader`
   * tells of, or none.
   */
  tailOf(
    { ids, messages }: { messages: readonly Turn[]; ids: readonly number[] },
    encoding: Encoding,
  ): number | undefined {
    const { end = 'answer', settings = {}, tools } = encoding
    const isOpened = (tools?.opening ?? '') !== ''
    if (end === 'message') return undefined
    // A message may change the header as settings may: `/no_think` in SmolLM3's system message.
    const isUsual = end === 'answer' && Object.keys(settings).length === 0 && !isOpened
    if (isUsual && this.#endsWithHeader(ids)) return undefined
    const front = end === 'within' ? messages.slice(0, -1) : messages
    if (front.length === 0) return ids.length
    const closed = this.encode(front, {
      ...encoding,
      end: 'message',
      tools: tools && { ...tools, opening: '' },
    })
    const alike = ids.findIndex((id, at) => id !== closed[at])
    return alike === -1 ? undefined : ids.length - alike
  }

  /** How many of a conversation's tokens stand in front of its newest turn (see `newestTurnOf`). */
  turnOf(
    { ids, messages }: { messages: readonly Turn[]; ids: readonly number[] },
    { end = 'answer', param = 'messages', room, settings = {}, tools, tuned }: Encoding,
  ): number {
    const shown = { param, settings, tuned, tools: tools && { ...tools, opening: '' } }
    this.#closing ??= closingOf(this.#renderWith({ add_generation_prompt: false }))
    return newestTurnOf(
      { ids, messages, isContinued: end !== 'answer' },
      {
        rendered: (turns) => this.#rendered(turns, { ...shown, end: 'message' }),
        encoded: (text) => this.#codec.encodeRendered(text, { tokens: room, param }),
        closing: this.#closing,
        ending: this.#spell(this.#backbone.tokens.eos[0]),
      },
    )
  }

  /**
   * How many tokens the template writes behind a conversation to open the assistant's answer (its generation header),
   * behind which late prompt rows cannot stand; 0 where it writes none. Throws when it refuses every conversation.
   */
  generationHeader(room: number): number {
    this.#header ??= this.#measuredHeader(room)
    return this.#header.length
  }

  #endsWithHeader(ids: readonly number[]): boolean {
    this.#header ??= this.#measuredHeader(Number.POSITIVE_INFINITY)
    const start = ids.length - this.#header.length
    return this.#header.every((id, at) => ids[start + at] === id)
  }

  #measuredHeader(room: number): readonly number[] {
    const question = { role: 'user', content: 'a' } as const
    const system = { role: 'system', content: 'b' } as const
    const encoded = (isOpened: boolean) => {
      const render = this.#renderWith({ add_generation_prompt: isOpened })
      const limit = { tokens: room, param: 'messages' } as const
      try {
        return this.#codec.encodeRendered(render([question]), limit)
      } catch {
        // Some templates demand a system message.
        return this.#codec.encodeRendered(
          this.#unrefused(() => render([system, question]), isOpened),
          limit,
        )
      }
    }
    const [opened, closed] = [encoded(true), encoded(false)]
    const alike = opened.findIndex((id, at) => id !== closed[at])
    return alike === -1 ? [] : opened.slice(alike)
  }

  #unrefused(render: () => string, isOpened: boolean): string {
    try {
      return render()
    } catch (cause) {
      const reason = cause instanceof Error ? cause.message : String(cause)
      throw new QuartetError(
        'invalid_request',
        `the model's chat template refuses a question ${isOpened ? 'with' : 'without'} a generation prompt: ${reason}`,
        { cause },
      )
    }
  }

  /**
   * Throws unless the template writes a user's question, with a system message in front where it demands one, and its
   * generation header can be told.
   */
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
    this.generationHeader(room)
  }

  /** Whether this is the template that `chat` describes. */
  renders({ template }: Templated['chat']): boolean {
    return this.#backbone.chat.template === template
  }

  #rendered(
    messages: readonly Turn[],
    {
      end,
      param,
      settings,
      tools,
      tuned,
    }: Required<Omit<Encoding, 'room' | 'tools'>> & Pick<Encoding, 'tools'>,
  ): string {
    const protect = (text: string) => this.#codec.addedTokens.protect(text)
    const given = Object.entries(settings).map(([name, value]) => [
      name,
      typeof value === 'string' ? protect(value) : value,
    ])
    const asked = Object.fromEntries(given)
    const input =
      tools === undefined
        ? { messages: messages.map((turn) => spokenMessage(turn, protect)), settings: {} }
        : forTemplate({ ...tools, turns: messages, template: this.tools, protect })
    const render = this.#renderWith({ ...asked, ...input.settings, add_generation_prompt: end === 'answer' })
    const defaultOf = () => this.#defaultPrompt(this.#renderWith(asked), given.length === 0)
    try {
      const rendered = this.#inTemplate(input, { render, defaultOf: tuned ? defaultOf : () => undefined })
      const text = end === 'within' ? upTo(rendered, input.messages.at(-1)?.content ?? '') : rendered
      return text + (tools?.opening ?? '')
    } catch (cause) {
      const reason = cause instanceof Error ? cause.message : 'it failed'
      const remedy =
        cause instanceof TemplateLimit
          ? '; send less, or ask your operator to register the model with another template'
          : ''
      throw new QuartetError(
        'invalid_request',
        `${param}: the model's chat template refuses them: ${reason}${remedy}`,
        {
          param,
          cause,
        },
      )
    }
  }

  /** The messages without the default prompt that `defaultOf` tells of. */
  #inTemplate(
    { isInstructed, messages, settings }: TemplateInput,
    { defaultOf, render }: { render: Render; defaultOf: () => DefaultPrompt | undefined },
  ): string {
    if ('tools' in settings) {
      // The prompt stands in one turn with the functions, where only another one takes its place.
      const isOwn = messages[0]?.role === 'system' || defaultOf() === undefined
      return render(isOwn ? messages : [{ role: 'system', content: '' }, ...messages])
    }
    const rendered = (shown: readonly TemplateMessage[]) =>
      renderWithoutDefault(shown, { render, prompt: defaultOf() })
    try {
      return rendered(messages)
    } catch (refusal) {
      if (isInstructed !== true) throw refusal
      return rendered(withoutSystem(messages))
    }
  }

  #renderWith(settings: Readonly<Record<string, unknown>>): Render {
    const { bos, eos } = this.#backbone.tokens
    return (messages) =>
      this.#template.render({
        add_generation_prompt: true,
        ...settings,
        messages,
        bos_token: this.#spell(bos),
        eos_token: this.#spell(eos[0]),
      })
  }

  /**
   * Tuned models were trained without it; only the untuned backbone gets it. One that holds a date, or that a request's
   * own settings may change, is read anew.
   */
  #defaultPrompt(render: Render, isUsual: boolean): DefaultPrompt | undefined {
    if (isUsual && this.#learned !== undefined) return this.#learned.prompt
    const prompt = defaultPrompt(render, this.#spell(this.#backbone.tokens.bos))
    if (isUsual && !this.#backbone.chat.template.includes('strftime_now')) this.#learned = { prompt }
    return prompt
  }

  #spell(token: number | null | undefined): string {
    return token === null || token === undefined ? '' : this.#codec.vocabulary.spelledText(token)
  }
}

/** A rendered conversation up to where its last message's text ends; a template may have trimmed it. */
function upTo(rendered: string, content: string): string {
  for (const text of [content, content.trimEnd(), content.trim()]) {
    const at = rendered.lastIndexOf(text)
    if (text.trim() !== '' && at !== -1) return rendered.slice(0, at + text.length)
  }
  throw new Error('it does not show the last message, which continue_final_message continues')
}
