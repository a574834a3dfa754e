import { readFile } from 'node:fs/promises'
import { brotliDecompressSync } from 'node:zlib'
import { describe, expect, test } from 'vitest'
import { z } from 'zod'
import { TextCodec } from '../../shared/tokenizer/text-codec.ts'
import { tinyTokenizer } from '../../test/fakes/tiny-tokenizer.ts'
import { preTokenizers } from './gguf-pretokenizers.ts'
import { tokenizerFromGguf } from './gguf-tokenizer.ts'
import { checkTokenizer, encode, endTokens, parseTokenizer } from './tokenizer.ts'

const fixture = (name: string) => readFile(new URL(`../../test/fixtures/tokenizer/${name}`, import.meta.url))
const Cases = z.array(z.object({ text: z.string(), ids: z.array(z.int()) }))

/**
 * The token ids that the reference tokenizers (Hugging Face's and llama.cpp's, which agree) give for 32 awkward texts.
 */
const golden = Cases.parse(JSON.parse((await fixture('golden.json')).toString()))
/** The metadata `tokenizer.*` of SmolLM2-135M-Instruct's GGUF file (Apache-2.0). */
const Metadata = z.record(
  z.string(),
  z.union([z.string(), z.number(), z.boolean(), z.array(z.union([z.string(), z.number()]))]),
)
const smollm2 = Metadata.parse(
  JSON.parse(brotliDecompressSync(await fixture('smollm2-metadata.json.br')).toString()),
)

describe('the tokenizer of a GGUF file', () => {
  const json = tokenizerFromGguf(smollm2)
  const tokenizer = checkTokenizer(json, 49_152)

  test.for(golden)('gives the reference’s ids for $text', ({ text, ids }) => {
    expect(encode(tokenizer, text)).toEqual(ids)
  })

  test.for(golden.filter(({ text }) => text !== ''))('gives $text back', ({ text, ids }) => {
    const bytes = ids.flatMap((id) => [...tokenizer.vocabulary.spelling(id)])
    expect(new TextDecoder('utf-8', { ignoreBOM: true }).decode(Uint8Array.from(bytes))).toBe(text)
  })

  test('as Hugging Face writes it, gives the same ids', () => {
    const asWritten = TextCodec.compile({
      ...json,
      pre_tokenizer: {
        type: 'Sequence',
        pretokenizers: [
          { type: 'Digits', individual_digits: true },
          { type: 'ByteLevel', add_prefix_space: false, trim_offsets: true, use_regex: true },
        ],
      },
    })
    for (const { text, ids } of golden) expect(encode(asWritten, text), text).toEqual(ids)
    // U+FEFF is white space to JavaScript and not to Unicode.
    expect(encode(asWritten, '!\ufeff!')).toEqual(encode(tokenizer, '!\ufeff!'))
  })

  test('ends a response where the file says, and where its control tokens do', () => {
    expect(endTokens(json, [2])).toEqual([2, 0])
  })
})

describe('a SentencePiece vocabulary', () => {
  const Fixture = z.object({
    tokens: z.array(z.string()),
    scores: z.array(z.number()),
    types: z.array(z.number()),
    cases: Cases,
  })

  test('gives the ids that the sentencepiece library gives', async () => {
    const { cases, scores, tokens, types } = Fixture.parse(
      JSON.parse((await fixture('sentencepiece.json')).toString()),
    )
    const json = tokenizerFromGguf({
      'tokenizer.ggml.model': 'llama',
      'tokenizer.ggml.tokens': tokens,
      'tokenizer.ggml.scores': scores,
      'tokenizer.ggml.token_type': types,
      'tokenizer.ggml.unknown_token_id': 0,
      'tokenizer.ggml.bos_token_id': 1,
    })
    const tokenizer = checkTokenizer(json, tokens.length)
    for (const { text, ids } of cases) {
      expect(encode(tokenizer, text), text).toEqual(ids)
      // The space in front is the tokenizer's.
      expect(tokenizer.vocabulary.text(ids)).toBe(text === '' ? '' : ` ${text}`)
      expect(tokenizer.encodePrompt(text, { tokens: 10_000, param: 'prompt' })).toEqual([1, ...ids])
    }
  })
})

test.for<[string, Record<string, z.infer<typeof Metadata>[string]>, RegExp]>([
  [
    'model',
    { 'tokenizer.ggml.model': 'bert' },
    /tokenizer.ggml.model bert is not supported; gpt2 and llama are/,
  ],
  ['pre', { 'tokenizer.ggml.pre': 'kimi-k2' }, /tokenizer.ggml.pre kimi-k2 is not supported; default, /],
  ['types', { 'tokenizer.ggml.token_type': [1] }, /49152 tokens and 1 token types/],
  ['merges', { 'tokenizer.ggml.merges': ['ab'] }, /the merge “ab” is not two tokens/],
  ['twins', { 'tokenizer.ggml.tokens': ['a', 'a'], 'tokenizer.ggml.token_type': [1, 1] }, /the same text/],
])('a vocabulary with an unusable %s is refused by name', ([_, metadata, message]) => {
  expect(() => tokenizerFromGguf({ ...smollm2, ...metadata })).toThrow(message)
})

test.for<[string, object, RegExp]>([
  ['a WordPiece model', { model: { type: 'WordPiece', vocab: {}, merges: [] } }, /only byte-pair encoding/],
  [
    'an unknown pre-tokenizer',
    { pre_tokenizer: { type: 'BertPreTokenizer' } },
    /pre_tokenizer: BertPreTokenizer is not supported/,
  ],
  ['an unknown normalizer', { normalizer: { type: 'Nmt' } }, /normalizer: Nmt is not supported/],
  [
    'a pattern that JavaScript lacks',
    { pre_tokenizer: { type: 'Split', pattern: { Regex: '(?<a>b)' }, behavior: 'Isolated' } },
    /the pattern .* is not supported/,
  ],
  [
    'a merge of what is no token',
    { model: { ...tinyTokenizer.model, merges: [['q', '⊗']] } },
    /model.merges: merge 0 has “⊗”/,
  ],
  ['dropout', { model: { ...tinyTokenizer.model, dropout: 0.1 } }, /model.dropout: it is not supported/],
])('%s is refused by name', ([_, change, message]) => {
  expect(() => checkTokenizer(parseTokenizer({ ...tinyTokenizer, ...change }), 512)).toThrow(message)
})

test('ids beyond the embedding are refused', () => {
  expect(() => checkTokenizer(parseTokenizer(tinyTokenizer), 300)).toThrow(
    /token id 302 is beyond the embedding's 300 rows/,
  )
})

test('a tokenizer that is wrong in every place is one short line', () => {
  const vocab = Object.fromEntries(Array.from({ length: 20_000 }, (_, id) => [`token ${id}`, -1]))
  const wrong = {
    added_tokens: [],
    normalizer: null,
    pre_tokenizer: null,
    post_processor: null,
    decoder: null,
  }
  const parse = () => parseTokenizer({ ...wrong, model: { type: 'BPE', vocab, merges: [] } })
  expect(parse).toThrow(/token 0.*and 19997 more/)
  const pre = 'x'.repeat(100_000)
  const read = () =>
    tokenizerFromGguf({
      'tokenizer.ggml.model': 'gpt2',
      'tokenizer.ggml.pre': pre,
      'tokenizer.ggml.tokens': ['a'],
      'tokenizer.ggml.token_type': [1],
    })
  expect(read).toThrow(/^.{0,900}$/s)
})

/** The names of `tokenizer.ggml.pre` that llama.cpp's llama-vocab.cpp knows (commit 00ad355) and Quartet does not. */
const refusedNames = [
  'jina-v5-nano deepseek-llm spark2_5 youtu falcon jina-es jina-de jina-v2-es jina-v2-de modern-bert jais-2 gemma4',
  'granite-embed-multi-311m sarvam-moe jina-v1-en jina-v2-code roberta-bpe whitespace exaone-moe chameleon',
  'granite-embed-multi-97m tiny_aya cohere2moe bailingmoe bailingmoe2 llada-moe hunyuan-dense hy_v4 joyai-llm kimi-k2',
  'ufakzeka afmoe laguna minimax-m2',
].flatMap((names) => names.split(' '))
const knownNames = [
  'default minicpm5 llama3 llama-v3 llama-bpe falcon3 falcon-h1 pixtral midm-2.0 lfm2 deepseek-coder deepseek-v3 mpt',
  'starcoder gpt-2 phi-2 gigachat a.x-4.0 mellum refact command-r qwen2 deepseek-r1-qwen kormo f2llmv2 qwen35 stablelm2',
  'olmo dbrx smaug-bpe poro-chat glm4 chatglm-bpe viking jais tekken smollm codeshell bloom gpt3-finnish exaone exaone4',
  'minerva-7b megrez gpt-4o llama4 kanana2 talkie superbpe trillion granite-docling seed-coder hunyuan grok-2 solar-open',
  'mellum2',
].flatMap((names) => names.split(' '))

test('every pre-tokenizer that llama.cpp knows is known, or refused by its name', () => {
  expect(Object.keys(preTokenizers).toSorted()).toEqual(knownNames.toSorted())
  const named = (pre: string) => () =>
    tokenizerFromGguf({
      'tokenizer.ggml.model': 'gpt2',
      'tokenizer.ggml.pre': pre,
      'tokenizer.ggml.tokens': ['a', 'b', 'c', '</s>'],
      'tokenizer.ggml.token_type': [1, 1, 1, 3],
      'tokenizer.ggml.merges': [],
    })
  for (const name of refusedNames)
    expect(named(name)).toThrow(`tokenizer.ggml.pre ${name} is not supported; default, `)
  for (const name of knownNames) expect(() => TextCodec.compile(named(name)()), name).not.toThrow()
  expect(named('')()).toEqual(named('default')())
})
