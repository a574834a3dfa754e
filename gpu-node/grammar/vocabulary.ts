import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import type { Backbone } from '../../model/backbone/backbone-folder.ts'
import { compiledTokenizer } from '../../model/import/backbone-tokenizer.ts'
import { parseTokenizer, type TokenizerJson } from '../../model/import/tokenizer.ts'
import { compileTokenizer } from '../../shared/tokenizer/compile-tokenizer.ts'
import type { GrammarVocabulary } from './messages.ts'

/** The tokens of a backbone as grammars see them; undefined for a tokenizer that spells bytes in a way of its own. */
export async function grammarVocabulary(backbone: Backbone): Promise<GrammarVocabulary | undefined> {
  const { folder, manifest } = backbone
  const tokenizer = parseTokenizer(JSON.parse(await readFile(join(folder, 'tokenizer.json'), 'utf8')))
  const compiled = await compiledTokenizer(backbone)
  return vocabularyOf(tokenizer, { vocab: manifest.config.vocab, eos: manifest.tokens.eos, compiled })
}

/** `compiled`: the same tokenizer compiled. */
export function vocabularyOf(
  tokenizer: TokenizerJson,
  {
    compiled = compileTokenizer(tokenizer),
    eos,
    vocab,
  }: { vocab: number; eos: readonly number[]; compiled?: Uint8Array },
): GrammarVocabulary | undefined {
  const { added_tokens, decoder, model } = tokenizer
  const stages = JSON.stringify(decoder)
  const spelling = stages.includes('"ByteLevel"')
    ? 'byte_level'
    : stages.includes('"ByteFallback"')
      ? 'byte_fallback'
      : undefined
  if (spelling === undefined) return undefined
  const tokens = Array.from({ length: vocab }, () => '')
  const put = (id: number, text: string) => {
    if (id < vocab) tokens[id] = text
  }
  for (const [text, id] of Object.entries(model.vocab)) put(id, text)
  // A special token adds no text to an answer, so it may not stand for what it spells.
  for (const { content, id, special } of added_tokens) put(id, special ? '' : spelled(content, spelling))
  return { tokens, spelling, eos, tokenizer: compiled }
}

/** An added token's plain text in the vocabulary's spelling. */
function spelled(text: string, spelling: GrammarVocabulary['spelling']): string {
  if (spelling === 'byte_fallback') return text.replaceAll(' ', '▁')
  return Array.from(new TextEncoder().encode(text), (byte) => characterOf[byte] ?? '').join('')
}

/** GPT-2's table: printable Latin-1 bytes stand for themselves, the other 68 for U+0100 and up, in order. */
const characterOf: readonly string[] = (() => {
  let next = 0x100
  const isPrintable = (byte: number) =>
    (byte >= 0x21 && byte <= 0x7e) || (byte >= 0xa1 && byte <= 0xac) || (byte >= 0xae && byte <= 0xff)
  return Array.from({ length: 256 }, (_, byte) => String.fromCharCode(isPrintable(byte) ? byte : next++))
})()
