import type { BackboneManifest } from '../../shared/backbone.ts'
import { checkChatTemplate, type FrameTokens } from './chat-template.ts'
import { endTokens, type TokenizerJson } from './tokenizer.ts'

type Conversation = Pick<BackboneManifest, 'tokens' | 'chat'>

/** How prompts begin, responses end and conversations are written, from what the model's files state. */
export function describeConversation(
  tokenizer: TokenizerJson,
  { begin, end, template }: { begin: number | undefined; end: readonly number[]; template: string },
): Conversation {
  const tokens = { bos: begin ?? null, eos: endTokens(tokenizer, end) }
  if (template !== '') checkChatTemplate(template, frameTokens(tokenizer, tokens))
  return { tokens, chat: { template } }
}

/** The texts of the tokens that a template may ask for. */
export function frameTokens(tokenizer: TokenizerJson, { bos, eos }: Conversation['tokens']): FrameTokens {
  const text = (id: number | null | undefined) =>
    tokenizer.added_tokens.find((token) => token.id === id)?.content ?? ''
  return { beginToken: text(bos), endToken: text(eos[0]) }
}
