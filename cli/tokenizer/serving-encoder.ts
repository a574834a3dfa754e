import type { Backbone } from '../../model/backbone/backbone-folder.ts'
import type { PutBackboneRequest } from '../../shared/api/admin.ts'
import type { ChatMessage } from '../../shared/api/chat-completions.ts'
import type { EdgeBackbone } from '../../shared/backbone.ts'
import { QuartetError } from '../../shared/errors.ts'
import { ChatTemplate } from '../../shared/tokenizer/chat-template.ts'
import { fromSent } from '../../shared/tokenizer/sent-tokenizer.ts'
import { TextCodec } from '../../shared/tokenizer/text-codec.ts'
import { readTables } from '../../shared/tokenizer/tokenizer-tables.ts'
import type { PromptEncoder } from '../../training/data/dataset.ts'
import { edgeBackbone } from '../local/local-backbone.ts'

export interface ServingEncoder extends PromptEncoder {
  /** A text alone: no template, nothing in front, no special tokens. */
  plain(text: string): readonly number[]
  /** Tokens of the template's generation header; 0 where it has none, or there is no template. */
  readonly generationHeader: number
}

/** Token ids for training from the edge's own tokenizer and template: training sees the same tokens as serving. */
export async function servingEncoder(installed: Backbone): Promise<ServingEncoder> {
  return encoderOf(await edgeBackbone(installed))
}

export function encoderOf({ backbone, tokenizer }: PutBackboneRequest): ServingEncoder {
  const codec = new TextCodec(readTables(fromSent(tokenizer)))
  const limit = { tokens: backbone.contextLength, param: 'prompt' } as const
  const template = backbone.chat.template === '' ? undefined : new ChatTemplate(backbone, codec)
  const conversation: PromptEncoder['conversation'] = (messages) => {
    if (template === undefined)
      throw new QuartetError(
        'invalid_request',
        `the backbone ${backbone.slug} has no chat template; write {"prompt", "completion"} and give --prompts raw`,
      )
    return template.encode(messages, { tuned: true, room: limit.tokens })
  }
  const end = template === undefined ? firstEnd(backbone) : endOfTurn(backbone, conversation)
  const plain = (text: string) => codec.encodeRendered(codec.addedTokens.protect(text), limit)
  return {
    conversation,
    plain,
    generationHeader: template?.generationHeader(limit.tokens) ?? 0,
    prompt: (text) => codec.encodePrompt(text, limit),
    answer: (text) => [...ofResponse(() => plain(text), limit.tokens), end],
  }
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
