import { readFile } from 'node:fs/promises'
import { brotliDecompressSync } from 'node:zlib'
import { describe, expect, test } from 'vitest'
import { z } from 'zod'
import { tokenizerFromGguf } from '../../model/import/gguf-tokenizer.ts'
import { TokenizerFile } from '../../shared/tokenizer/tokenizer-file.ts'
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
})
