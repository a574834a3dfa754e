import { Template } from '@huggingface/jinja'
import { z } from 'zod'
import { renderQuestion } from '../model/import/chat-template.ts'
import { frameTokens } from '../model/import/conversation.ts'
import { encode, loadTokenizer, type TokenizerJson } from '../model/import/tokenizer.ts'
import type { BackboneManifest } from '../shared/backbone.ts'
import { CliFailure } from './failure.ts'

/** A conversation that stands in front of every request: a system message, examples. */
export const Messages = z
  .array(z.strictObject({ role: z.enum(['system', 'user', 'assistant']), content: z.string().min(1) }))
  .min(1, 'at least one message is needed')
export type Messages = z.infer<typeof Messages>

/** What an adapter is compiled from: text as it is, or a conversation that the chat template turns into text. */
export type AdapterSource =
  | { readonly kind: 'text'; readonly text: string }
  | { readonly kind: 'messages'; readonly messages: Messages }

/** What a text means to a backbone. */
interface Reader {
  readonly manifest: BackboneManifest
  readonly tokenizer: TokenizerJson
}

/** The text that serving the adapter puts in front of the prompt, behind `beginToken` where there is one. */
export function sourceText(source: AdapterSource, reader: Reader): string {
  if (source.kind === 'text') return source.text
  const { template, defaultPrefix } = reader.manifest.chat
  if (template === '')
    throw new CliFailure('this backbone has no chat template', { remedy: 'compile plain text with --text' })
  const text = renderBehind('', { messages: source.messages, reader })
  const hasSystem = source.messages.some(({ role }) => role === 'system')
  return !hasSystem && text.startsWith(defaultPrefix) ? text.slice(defaultPrefix.length) : text
}

/** The conversation as the template writes it with this text as beginning-of-sequence token. */
function renderBehind(
  begin: string,
  { messages, reader: { manifest, tokenizer } }: { messages: Messages; reader: Reader },
): string {
  return new Template(manifest.chat.template).render({
    messages,
    bos_token: begin,
    eos_token: frameTokens(tokenizer, manifest.tokens).endToken,
    add_generation_prompt: false,
  })
}

/** The token that every prompt of a backbone starts with, put there by its tokenizer or its chat template. */
export function beginToken(reader: Reader): number | undefined {
  const { manifest, tokenizer } = reader
  const codec = loadTokenizer(tokenizer)
  const framed = codec.encode('a').ids
  const [first] = framed
  if (framed.length > encode(codec, 'a').length && first === manifest.tokens.bos) return first
  if (manifest.chat.template === '') return undefined
  const mark = '\u{f0000}'
  const template = manifest.chat.template
  const rendered = renderQuestion(template, { ...frameTokens(tokenizer, manifest.tokens), beginToken: mark })
  return rendered.startsWith(mark) ? (manifest.tokens.bos ?? undefined) : undefined
}
