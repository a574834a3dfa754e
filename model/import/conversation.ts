import type { BackboneManifest } from '../../shared/backbone.ts'
import { invalidBackbone } from '../backbone/invalid-backbone.ts'
import { checkChatTemplate, type FrameTokens, type StatedTemplate } from './chat-template.ts'
import { endTokens, type TokenizerJson } from './tokenizer.ts'

type Conversation = Pick<BackboneManifest, 'tokens' | 'chat'>

/** How prompts begin, responses end and conversations are written, from what the model's files state. */
export function describeConversation(
  tokenizer: TokenizerJson,
  { begin, end, chat }: { begin: number | undefined; end: readonly number[]; chat: StatedTemplate },
): Conversation {
  const tokens = { bos: begin ?? null, eos: endTokens(tokenizer, end) }
  const { template } = chat
  if (template !== '') checkChatTemplate(chat, frameTokens(tokenizer, tokens))
  return { tokens, chat: { template } }
}

const largestU32 = 2 ** 32 - 1

/**
 * The token ids that a file states under a key. −1 stands for none, and so does what −1 is without a sign. Throws
 * `backbone_invalid` for an id that the model does not have.
 */
export function statedTokens(
  ids: readonly number[],
  { key, path, vocab }: { key: string; path: string; vocab: number },
): number[] {
  const stated = ids.filter((id) => id !== -1 && id !== largestU32)
  const unknown = stated.find((id) => id < 0 || id >= vocab)
  if (unknown !== undefined)
    throw invalidBackbone(
      path,
      `${key} names token ${unknown}, and the model has ${vocab}, from 0 on; take the file that belongs to this model, or remove the id`,
    )
  return stated
}

/** The texts of the tokens that a template may ask for. */
export function frameTokens(tokenizer: TokenizerJson, { bos, eos }: Conversation['tokens']): FrameTokens {
  const text = (id: number | null | undefined) =>
    tokenizer.added_tokens.find((token) => token.id === id)?.content ?? ''
  return { beginToken: text(bos), endToken: text(eos[0]) }
}
