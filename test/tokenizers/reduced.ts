import { toByteCharacters } from '../../shared/tokenizer/byte-characters.ts'
import type { TokenizerFile } from '../../shared/tokenizer/tokenizer-file.ts'
import { wordSplitting } from '../../shared/tokenizer/tokenizer-stages.ts'

/**
 * A tokenizer without the tokens that cannot occur in these texts, ids unchanged: it gives them the same ids, as no
 * merge that could ever be chosen or compete is lost.
 */
export function reduced(file: TokenizerFile, texts: readonly string[]): TokenizerFile {
  const spelt = texts.flatMap((text) => [text, text.normalize('NFC')])
  const written = spelt.map((text) =>
    wordSplitting(file).alphabet === 'bytes'
      ? toByteCharacters(new TextEncoder().encode(text))
      : `▁${text.replaceAll(' ', '▁')}`,
  )
  const occurring = tokensIn(new Set(written), file)
  const { added_tokens, model } = file
  const vocab = Object.fromEntries(
    Object.entries(model.vocab).filter(
      ([token]) =>
        occurring.has(token) ||
        Array.from(token).length === 1 ||
        /^<0x..>$/.test(token) ||
        token === model.unk_token,
    ),
  )
  return {
    ...file,
    added_tokens: added_tokens.filter(({ content }) => texts.some((text) => text.includes(content))),
    model: {
      ...model,
      vocab,
      merges: model.merges.filter((merge) =>
        Object.hasOwn(vocab, typeof merge === 'string' ? merge.replace(/(.) /u, '$1') : merge.join('')),
      ),
    },
  }
}

/** The tokens that the texts contain anywhere, across words too. */
function tokensIn(texts: ReadonlySet<string>, { model }: TokenizerFile): ReadonlySet<string> {
  const vocabulary = new Set(Object.keys(model.vocab))
  const longest = [...vocabulary].reduce((most, { length }) => Math.max(most, length), 0)
  const found = new Set<string>()
  for (const text of texts)
    for (let from = 0; from < text.length; from++)
      for (let to = from + 1; to <= Math.min(text.length, from + longest); to++) {
        const piece = text.slice(from, to)
        if (vocabulary.has(piece)) found.add(piece)
      }
  return found
}
