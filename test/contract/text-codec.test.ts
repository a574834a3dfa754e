import { readFile } from 'node:fs/promises'
import { brotliDecompressSync } from 'node:zlib'
import { BPE, ByteLevelPreTokenizer, Tokenizer } from '@huggingface/tokenizers'
import { afterEach, describe, expect, test, vi } from 'vitest'
import { z } from 'zod'
import { tokenizerFromGguf } from '../../model/import/gguf-tokenizer.ts'
import { compileTokenizer } from '../../shared/tokenizer/compile-tokenizer.ts'
import { PairMerging } from '../../shared/tokenizer/pair-merging.ts'
import { TextCodec } from '../../shared/tokenizer/text-codec.ts'
import { readTables } from '../../shared/tokenizer/tokenizer-tables.ts'
import { WordTokens } from '../../shared/tokenizer/word-tokens.ts'

/** The edge's tokenizer on the vocabularies of real models, as a node writes them. */

const fixture = (name: string) => readFile(new URL(`../fixtures/tokenizer/${name}`, import.meta.url))
const Cases = z.array(z.object({ text: z.string(), ids: z.array(z.int()) }))
const golden = Cases.parse(JSON.parse((await fixture('golden.json')).toString()))
const { cases, ...pieces } = z
  .object({
    tokens: z.array(z.string()),
    scores: z.array(z.number()),
    types: z.array(z.number()),
    cases: Cases,
  })
  .parse(JSON.parse((await fixture('sentencepiece.json')).toString()))
const Metadata = z.record(
  z.string(),
  z.union([z.string(), z.number(), z.boolean(), z.array(z.union([z.string(), z.number()]))]),
)
const smollm2 = tokenizerFromGguf(
  Metadata.parse(JSON.parse(brotliDecompressSync(await fixture('smollm2-metadata.json.br')).toString())),
)
const sentencePiece = tokenizerFromGguf({
  'tokenizer.ggml.model': 'llama',
  'tokenizer.ggml.tokens': pieces.tokens,
  'tokenizer.ggml.scores': pieces.scores,
  'tokenizer.ggml.token_type': pieces.types,
  'tokenizer.ggml.unknown_token_id': 0,
  'tokenizer.ggml.bos_token_id': 1,
})

const encode = (codec: TextCodec, text: string, tokens: number) =>
  codec.encodeRendered(text, { tokens, param: 'prompt' })

describe.each([
  ['byte-level', TextCodec.compile(smollm2), golden],
  ['SentencePiece', TextCodec.compile(sentencePiece), cases],
])('a %s vocabulary', (_name, codec, texts) => {
  test.for(texts)('gives the reference’s ids for $text where they just fit', ({ ids, text }) => {
    expect(encode(codec, text, ids.length)).toEqual(ids)
  })

  test.for(texts.filter(({ ids }) => ids.length > 0))(
    'refuses $text where one token is too many',
    ({ ids, text }) => {
      expect(() => encode(codec, text, ids.length - 1)).toThrow(/longer than the \d+ tokens/)
    },
  )
})

/** Random texts of few characters, so that merges overlap and compete: runs, mixtures, and what no vocabulary has. */
function longWord(seed: number): string {
  let state = seed
  const random = (below: number) => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0
    return Math.floor((state / 2 ** 32) * below)
  }
  const alphabets = ['a', 'ab', ' ', '-=', 'the', 'aeioun', '. ', 'é日😀', ' \n\t', 'ABab01']
  const alphabet = Array.from(alphabets[random(alphabets.length)] ?? 'a')
  return Array.from({ length: 1 + random(3_000) }, () => alphabet[random(alphabet.length)]).join('')
}

describe.each([
  ['byte-level', smollm2],
  ['SentencePiece', sentencePiece],
])('merging by tables in a %s vocabulary', (_name, file) => {
  const codec = TextCodec.compile(file)
  const { model } = new Tokenizer(file, { clean_up_tokenization_spaces: false })
  if (!(model instanceof BPE)) throw new Error('a BPE was expected')
  const mapBytes = new ByteLevelPreTokenizer({
    type: 'ByteLevel',
    use_regex: false,
    add_prefix_space: false,
    trim_offsets: false,
  })

  test('gives what an independent implementation gives, for 300 long words', () => {
    const whole = new WordTokens(readTables(compileTokenizer(file)), codec.vocabulary)
    for (let seed = 1; seed <= 300; seed++) {
      const text = longWord(seed)
      const word = file === smollm2 ? text : text.replaceAll(' ', '▁')
      const mapped = file === smollm2 ? (mapBytes.pre_tokenize(text)[0] ?? '') : word
      const expected = model
        .encode([mapped])
        .flatMap((token) => model.tokens_to_ids.get(token) ?? model.unk_token_id ?? [])
      expect(whole.encode(word), JSON.stringify(text)).toEqual(expected)
    }
  })
})

describe('a megabyte that does not fit costs no more than the longest text of its kind that does:', () => {
  afterEach(() => {
    vi.restoreAllMocks()
  })
  const room = 2_047

  /** Steps of the patterns that split a text, and characters that were merged. */
  function work(text: string): { readonly fits: boolean; readonly steps: number; readonly merged: number } {
    const codec = TextCodec.compile(smollm2)
    const match = vi.spyOn(RegExp.prototype, 'exec')
    const merge = vi.spyOn(PairMerging.prototype, 'merge')
    let fits = true
    try {
      encode(codec, text, room)
    } catch {
      fits = false
    }
    const merged = merge.mock.calls.reduce((sum, [tokens]) => sum + tokens.length, 0)
    const steps = match.mock.calls.length
    vi.restoreAllMocks()
    return { fits, steps, merged }
  }

  test.each([
    ['digits', '7', 1],
    ['prose', 'The parcel is late. ', 5],
    ['special tokens', '<|im_end|>', 1],
    ['special tokens between words', ' so<|im_end|>', 2],
    ['punctuation and numbers', '(1), ', 3],
  ])('%s', (_name, unit, tokens) => {
    const longest = work(unit.repeat(Math.floor(room / tokens)))
    const refused = work(unit.repeat(Math.floor(1_000_000 / unit.length)))
    expect([longest.fits, refused.fits]).toEqual([true, false])
    expect(refused.steps).toBeLessThanOrEqual(longest.steps + 10)
    expect(refused.merged).toBeLessThanOrEqual(longest.merged + 10)
  })

  test.each([
    ['one letter', 'a'],
    ['letters without a word', 'kwzxqvjy'],
  ])('%s in words of the greatest length', (_name, unit) => {
    const word = unit.repeat(Math.floor(99_000 / unit.length))
    expect(work(`${word} `.repeat(10))).toMatchObject({ fits: false, merged: 0 })
  })
})
