import type { AdapterMetadata } from '../adapter-file.ts'
import type { ChatMessage } from '../api/chat-completions.ts'
import type { EdgeBackbone } from '../backbone.ts'
import { QuartetError } from '../errors.ts'
import { ChatTemplate } from '../tokenizer/chat-template.ts'
import type { TextCodec } from '../tokenizer/text-codec.ts'
import type { Row } from './row.ts'

/** Text to token ids, as a request to a tuned model is tokenized when it is served. */
export interface PromptEncoder {
  /** A conversation up to where the assistant's answer begins. Throws QuartetError. */
  conversation(messages: readonly ChatMessage[]): readonly number[]
  /** How many of a conversation's tokens, `ids`, stand in front of its newest turn. */
  turnOf(messages: readonly ChatMessage[], ids: readonly number[]): number
  /** How many of them stand behind late rows; undefined where that is the usual generation header. */
  tailOf(messages: readonly ChatMessage[], ids: readonly number[]): number | undefined
  /** A raw prompt, as `/v1/completions` takes it. Throws QuartetError. */
  prompt(text: string): readonly number[]
  /** An answer as the model would write it, with the token that ends it. Throws QuartetError. */
  answer(text: string): readonly number[]
}

export interface ServingEncoder extends PromptEncoder {
  /** A text alone: no template, nothing in front, no special tokens. */
  plain(text: string): readonly number[]
  /** Tokens of the template's generation header; 0 where it has none, or there is no template. */
  readonly generationHeader: number
}

/** Whether `{"prompt", "completion"}` is a conversation of one user message or a raw prompt. */
export type PromptFormat = 'chat' | 'raw'

/** The format that jobs read files in: a conversation where the backbone has a template for one. */
export const promptFormatOf = ({ chat }: Pick<EdgeBackbone, 'chat'>): PromptFormat =>
  chat.template === '' ? 'raw' : 'chat'

/** Token ids by a backbone's own tokenizer and template: training and its estimates see the tokens that are served. */
export function servedEncoder(backbone: EdgeBackbone, codec: TextCodec): ServingEncoder {
  const limit = { tokens: backbone.contextLength, param: 'prompt' } as const
  const template = backbone.chat.template === '' ? undefined : ChatTemplate.of({ backbone }, codec)
  const conversation: PromptEncoder['conversation'] = (messages) => {
    if (template === undefined)
      throw new QuartetError(
        'invalid_request',
        `the backbone ${backbone.slug} has no chat template: write {"prompt", "completion"}, which it reads as raw text`,
      )
    return template.encode(messages, { tuned: true, room: limit.tokens })
  }
  const end = template === undefined ? firstEnd(backbone) : endOfTurn(backbone, conversation)
  const plain = (text: string) => codec.encodeRendered(codec.addedTokens.protect(text), limit)
  return {
    conversation,
    turnOf: (messages, ids) => template?.turnOf({ messages, ids }, { tuned: true, room: limit.tokens }) ?? 0,
    tailOf: (messages, ids) => template?.tailOf({ messages, ids }, { tuned: true, room: limit.tokens }),
    plain,
    generationHeader: template?.generationHeader(limit.tokens) ?? 0,
    prompt: (text) => codec.encodePrompt(text, limit),
    answer: (text) => [...ofResponse(() => plain(text), limit.tokens), end],
  }
}

/** Where prompt rows stand in a prompt, as far as the adapter alone does not say it. */
export interface PromptPlaces {
  /** Tokens in front of its newest turn; absent where the whole prompt is the newest turn. */
  readonly turn?: number | undefined
  /** Tokens behind late rows; absent where they are as many as the adapter says. */
  readonly tail?: number | undefined
}

/** The places in a conversation of these tokens, `ids`. */
export function placesIn(
  messages: readonly ChatMessage[],
  { encoder, ids }: { readonly encoder: PromptEncoder; readonly ids: readonly number[] },
): PromptPlaces {
  const turn = encoder.turnOf(messages, ids)
  const tail = encoder.tailOf(messages, ids)
  return { ...(turn > 0 && { turn }), ...(tail !== undefined && { tail }) }
}

/** The places in a row's prompt, `ids`. A raw one has none of its own. */
export function placesOfRow(
  { prompt }: Row,
  {
    prompts,
    ...asked
  }: {
    readonly encoder: PromptEncoder
    readonly prompts: PromptFormat
    readonly ids: readonly number[]
  },
): PromptPlaces {
  return prompt.type === 'text' && prompts === 'raw' ? {} : placesIn(conversationOf(prompt), asked)
}

/** A prompt's messages; a text is what a user asks. */
const conversationOf = (prompt: Row['prompt']): readonly ChatMessage[] =>
  prompt.type === 'messages' ? prompt.messages : [{ role: 'user', content: prompt.text, name: undefined }]

/** An example in token ids: the whole prompt as served, and the answer with the token that ends it. Throws QuartetError. */
export function encodeRow(
  { prompt, answer }: Row,
  { encoder, prompts }: { readonly encoder: PromptEncoder; readonly prompts: PromptFormat },
): { readonly instruction: readonly number[]; readonly response: readonly number[] } {
  return { instruction: encodePrompt(prompt, { encoder, prompts }), response: encoder.answer(answer) }
}

function encodePrompt(
  prompt: Row['prompt'],
  { encoder, prompts }: { readonly encoder: PromptEncoder; readonly prompts: PromptFormat },
): readonly number[] {
  if (prompt.type === 'text' && prompts === 'raw') return encoder.prompt(prompt.text)
  return encoder.conversation(conversationOf(prompt))
}

export interface LengthLimits {
  /** Tokens for a prompt and its answer. */
  readonly room: number
  /** The adapters that are to read the prompt, as far as they are known. */
  readonly readers?: readonly Reader[]
}

type Reader = Pick<AdapterMetadata, 'placement' | 'tail'>

/** Why an example cannot be trained on, in words that follow “line 3: ”. */
export function lengthProblem(
  example: ReturnType<typeof encodeRow> & Pick<PromptPlaces, 'tail'>,
  { room, readers = [] }: LengthLimits,
): string | undefined {
  const [prompt, response] = [example.instruction.length, example.response.length]
  if (prompt === 0) return 'its prompt has no tokens'
  for (const reader of readers) {
    const tail = reader.tail === undefined ? undefined : (example.tail ?? reader.tail)
    const problem = placeProblem(prompt, { ...reader, tail })
    if (problem !== undefined) return problem
  }
  if (prompt + response <= room) return undefined
  const longest =
    response > room
      ? `its response has ${response} tokens`
      : `it has ${prompt} prompt and ${response} response tokens`
  return `${longest}; the context leaves room for ${room}, so shorten it or leave it out`
}

/** Why the rows of an adapter have no place in a prompt of so many tokens; undefined where they have. */
function placeProblem(tokens: number, { placement, tail }: Reader): string | undefined {
  const remedy = 'lengthen it, leave it out, or use an adapter of another placement, such as after-first'
  if (tail !== undefined && tokens <= tail)
    return `its prompt has ${tokens === 1 ? 'one token' : `${tokens} tokens`}, and late rows stand in front of its last ${tail}, with one more in front of them at least; ${remedy}`
  if (placement === 'turn' && tokens === 1)
    return `its prompt has one token, and rows of the placement turn stand behind the first of two at least; ${remedy}`
  return undefined
}

/** The tokenizer takes every text for a prompt. */
function ofResponse<T>(encode: () => T, room: number): T {
  try {
    return encode()
  } catch (cause) {
    if (!(cause instanceof QuartetError) || cause.code !== 'context_length_exceeded') throw cause
    throw new QuartetError(
      cause.code,
      `the response is longer than the ${room} tokens that this model has room for; shorten it`,
      { cause },
    )
  }
}

function firstEnd({ tokens }: EdgeBackbone): number {
  const [end] = tokens.eos
  if (end === undefined)
    throw new QuartetError('backbone_invalid', 'the backbone names no token that ends a response')
  return end
}

/** The token that the template puts behind an answer, or the first that ends a response where it puts none. */
function endOfTurn(backbone: EdgeBackbone, conversation: PromptEncoder['conversation']): number {
  const question = { role: 'user', content: 'a', name: undefined } as const
  const answer = { role: 'assistant', content: 'b', name: undefined } as const
  const system = { role: 'system', content: 'c', name: undefined } as const
  const ends = new Set(backbone.tokens.eos)
  const endBehind = (...front: readonly ChatMessage[]) => {
    const asked = conversation([...front, question])
    const goesOn = conversation([...front, question, answer, question])
    return goesOn.slice(asked.length).find((id) => ends.has(id)) ?? firstEnd(backbone)
  }
  try {
    return endBehind()
  } catch {
    // Some templates demand a system message.
    return endBehind(system)
  }
}
