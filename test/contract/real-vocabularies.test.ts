import { readFile } from 'node:fs/promises'
import { brotliDecompressSync } from 'node:zlib'
import { describe, expect, test } from 'vitest'
import { z } from 'zod'
import { ForcedText, mostLatest } from '../../gpu-node/grammar/forced-text.ts'
import { tokenizerFromGguf } from '../../model/import/gguf-tokenizer.ts'
import { Random } from '../../shared/prng.ts'
import { compileTokenizer } from '../../shared/tokenizer/compile-tokenizer.ts'
import { TextCodec } from '../../shared/tokenizer/text-codec.ts'
import { TokenizerFile } from '../../shared/tokenizer/tokenizer-file.ts'
import { readTables } from '../../shared/tokenizer/tokenizer-tables.ts'
import { asGguf } from '../tokenizers/as-gguf.ts'
import { dense } from '../tokenizers/dense.ts'
import { differingTexts, ReferenceIds } from '../tokenizers/differences.ts'
import { nastyTexts } from '../tokenizers/nasty-texts.ts'
import { vocabularies } from '../tokenizers/vocabularies.ts'

/** Parts of real vocabularies, and the ids that the reference gives with the whole of them (tokenizers/compare.ts). */
const fixture = new URL('../fixtures/tokenizer/real-vocabularies.json.br', import.meta.url)
const Kept = z.array(z.object({ name: z.string(), tokenizer: TokenizerFile, reference: ReferenceIds }))
const kept = Kept.parse(JSON.parse(brotliDecompressSync(await readFile(fixture)).toString()))

describe.each(vocabularies)('the vocabulary of $name', (vocabulary) => {
  const found = kept.find(({ name }) => name === vocabulary.name)
  if (found === undefined) throw new Error(`the fixture lacks ${vocabulary.name}`)
  // GGUF has a place for every id: without the gaps, what is no part of the fixture costs nothing.
  const { reference, tokenizer } = dense(found)
  const texts = nastyTexts(reference.length)

  test('gives the reference’s ids from tokenizer.json', () => {
    expect(reference.length).toBeGreaterThan(100)
    expect(differingTexts(tokenizer, { texts, reference })).toEqual([])
  })

  test('gives them from what GGUF keeps of it', () => {
    const converted = tokenizerFromGguf(asGguf(tokenizer, vocabulary))
    expect(differingTexts(converted, { texts, reference })).toEqual([])
  })

  test('writes a forced text in the tokens that it has in the whole answer, whatever follows it', () => {
    const compiled = compileTokenizer(tokenizer)
    const codec = new TextCodec(readTables(compiled))
    const forcedText = new ForcedText(compiled)
    const random = new Random(3)
    let forced = 0
    for (const answer of texts) {
      const ids = codec.encodeRendered(codec.addedTokens.protect(answer), {
        tokens: 100_000,
        param: 'prompt',
      })
      // A tokenizer may change or drop characters: then the ids have another text.
      if (codec.vocabulary.text(ids).trimStart() !== answer.trimStart()) continue
      for (let tried = 0; tried < 6; tried++) {
        const at = Math.floor(random.next() * ids.length)
        const rest = codec.vocabulary.text(ids.slice(at))
        const text = rest.slice(0, Math.floor(random.next() * rest.length) + 1)
        const tokens = forcedText.tokens(ids.slice(Math.max(0, at - mostLatest), at), text)
        expect(tokens, JSON.stringify([answer, at, text])).toEqual(ids.slice(at, at + tokens.length))
        forced += tokens.length
      }
    }
    expect(forced).toBeGreaterThan(100)
  })
})
