import { z } from 'zod'
import type { GgufMetadata } from './gguf-header.ts'
import {
  bytesOnly,
  gpt2Pattern,
  invalidTokenizer,
  parseTokenizer,
  splitOn,
  type TokenizerJson,
} from './tokenizer.ts'

/** `tokenizer.ggml.token_type` (llama.cpp `llama_token_type`). */
const tokenType = { normal: 1, unknown: 2, control: 3, userDefined: 4, byte: 6 } as const

const maxTokens = 1_000_000

const Vocabulary = z
  .object({
    'tokenizer.ggml.model': z.string(),
    'tokenizer.ggml.pre': z.string().default('default'),
    'tokenizer.ggml.tokens': z.array(z.string()).min(1).max(maxTokens),
    'tokenizer.ggml.token_type': z.array(z.number()).max(maxTokens),
    'tokenizer.ggml.merges': z.array(z.string()).max(maxTokens).default([]),
    'tokenizer.ggml.scores': z.array(z.number()).max(maxTokens).default([]),
    'tokenizer.ggml.unknown_token_id': z.number().optional(),
    'tokenizer.ggml.add_space_prefix': z.boolean().default(true),
    'tokenizer.ggml.bos_token_id': z.int().min(0).optional(),
    'tokenizer.ggml.add_bos_token': z.boolean().optional(),
  })
  .transform((raw) => ({
    model: raw['tokenizer.ggml.model'],
    pre: raw['tokenizer.ggml.pre'],
    tokens: raw['tokenizer.ggml.tokens'],
    types: raw['tokenizer.ggml.token_type'],
    merges: raw['tokenizer.ggml.merges'],
    scores: raw['tokenizer.ggml.scores'],
    unknown: raw['tokenizer.ggml.unknown_token_id'],
    addSpacePrefix: raw['tokenizer.ggml.add_space_prefix'],
    begin: raw['tokenizer.ggml.bos_token_id'],
    addBegin: raw['tokenizer.ggml.add_bos_token'],
  }))
type Vocabulary = z.infer<typeof Vocabulary>

/** The tokenizer in a GGUF file's metadata as `tokenizer.json`. Throws `backbone_invalid` for kinds it does not know. */
export function tokenizerFromGguf(metadata: GgufMetadata): TokenizerJson {
  const parsed = Vocabulary.safeParse(metadata)
  if (!parsed.success) throw invalidTokenizer(z.prettifyError(parsed.error).replaceAll('\n', ' '))
  const vocabulary = parsed.data
  const { model, tokens, types } = vocabulary
  if (types.length !== tokens.length)
    throw invalidTokenizer(`it has ${tokens.length} tokens and ${types.length} token types`)
  if (new Set(tokens).size !== tokens.length) throw invalidTokenizer('two of its tokens have the same text')
  const convert = Object.hasOwn(converters, model) ? converters[model] : undefined
  if (convert === undefined)
    throw invalidTokenizer(
      `tokenizer.ggml.model ${model} is not supported; ${Object.keys(converters).join(' and ')} are`,
    )
  return parseTokenizer({
    version: '1.0',
    added_tokens: addedTokens(vocabulary),
    post_processor: beginFirst(vocabulary),
    ...convert(vocabulary),
  })
}

/** Puts the beginning-of-sequence token in front of a prompt, for models that were trained with it. */
function beginFirst({ model, pre, tokens, begin, addBegin }: Vocabulary): object | null {
  const adds =
    addBegin ?? (model === 'llama' || (Object.hasOwn(preTokenizers, pre) && preTokenizers[pre]?.addBegin))
  const content = adds && begin !== undefined ? tokens[begin] : undefined
  if (content === undefined) return null
  const token = { SpecialToken: { id: content, type_id: 0 } }
  return {
    type: 'TemplateProcessing',
    single: [token, { Sequence: { id: 'A', type_id: 0 } }],
    pair: [token, { Sequence: { id: 'A', type_id: 0 } }, token, { Sequence: { id: 'B', type_id: 1 } }],
    special_tokens: { [content]: { id: content, ids: [begin], tokens: [content] } },
  }
}

const converters: Readonly<Record<string, (vocabulary: Vocabulary) => object>> = {
  gpt2: byteLevelBpe,
  llama: sentencePieceBpe,
}

function addedTokens({ model, tokens, types }: Vocabulary) {
  // A SentencePiece vocabulary's unknown token is parsed in text like its control tokens.
  const special: readonly (number | undefined)[] =
    model === 'llama' ? [tokenType.control, tokenType.unknown] : [tokenType.control]
  return tokens.flatMap((content, id) =>
    special.includes(types[id]) || types[id] === tokenType.userDefined
      ? [
          {
            id,
            content,
            special: special.includes(types[id]),
            single_word: false,
            lstrip: false,
            rstrip: false,
            normalized: false,
          },
        ]
      : [],
  )
}

const llama3Pattern =
  "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}{1,3}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"
const tekkenPattern =
  '[^\\r\\n\\p{L}\\p{N}]?[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}]*[\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}]+|[^\\r\\n\\p{L}\\p{N}]?[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}]+[\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}]*|\\p{N}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n/]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+'

interface PreTokenizer {
  /** One split after the other. */
  readonly patterns: readonly string[]
  /** A word that is a token is not merged from its parts. */
  readonly ignoreMerges: boolean
  /** Prompts start with the beginning-of-sequence token unless the file says otherwise. */
  readonly addBegin: boolean
}

const digitsThenGpt2: PreTokenizer = {
  patterns: ['\\p{N}', gpt2Pattern],
  ignoreMerges: false,
  addBegin: false,
}
const llama3: PreTokenizer = { patterns: [llama3Pattern], ignoreMerges: true, addBegin: true }

/** `tokenizer.ggml.pre` (`LLAMA_VOCAB_PRE_TYPE_*` in llama.cpp's llama-vocab.cpp). A new one is one row. */
const preTokenizers: Readonly<Record<string, PreTokenizer>> = {
  smollm: digitsThenGpt2,
  starcoder: digitsThenGpt2,
  refact: digitsThenGpt2,
  'command-r': digitsThenGpt2,
  'gpt-2': { patterns: [gpt2Pattern], ignoreMerges: false, addBegin: false },
  'llama-bpe': llama3,
  'llama-v3': llama3,
  llama3,
  tekken: { patterns: [tekkenPattern], ignoreMerges: true, addBegin: true },
}

/** GPT-2's byte-level BPE: text is split into words, the words into bytes, the bytes are merged. */
function byteLevelBpe({ pre, tokens, merges }: Vocabulary): object {
  const preTokenizer = Object.hasOwn(preTokenizers, pre) ? preTokenizers[pre] : undefined
  if (preTokenizer === undefined)
    throw invalidTokenizer(
      `tokenizer.ggml.pre ${pre} is not supported; ${Object.keys(preTokenizers).join(', ')} are`,
    )
  return {
    normalizer: null,
    pre_tokenizer: { type: 'Sequence', pretokenizers: [...preTokenizer.patterns.map(splitOn), bytesOnly] },
    decoder: { type: 'ByteLevel', add_prefix_space: true, trim_offsets: true, use_regex: true },
    model: {
      type: 'BPE',
      dropout: null,
      unk_token: null,
      continuing_subword_prefix: null,
      end_of_word_suffix: null,
      fuse_unk: false,
      byte_fallback: false,
      ignore_merges: preTokenizer.ignoreMerges,
      vocab: Object.fromEntries(tokens.map((token, id) => [token, id])),
      merges: merges.map(mergePair),
    },
  }
}

/** A merge is two non-empty tokens with a space between; the first may itself begin with a space. */
function mergePair(merge: string): [string, string] {
  const space = merge.indexOf(' ', 1)
  if (space === -1) throw invalidTokenizer(`the merge “${merge}” is not two tokens`)
  return [merge.slice(0, space), merge.slice(space + 1)]
}

/**
 * SentencePiece BPE (Llama 1 and 2, Mistral 7B) with bytes for what the vocabulary lacks. Its merges are not in the
 * file: every way to cut a token in two tokens is one, ranked by the token's score, as in the converter of
 * Hugging Face's transformers (`SentencePieceExtractor`).
 */
function sentencePieceBpe({ tokens, types, scores, unknown, addSpacePrefix }: Vocabulary): object {
  if (scores.length !== tokens.length)
    throw invalidTokenizer(`it has ${tokens.length} tokens and ${scores.length} scores`)
  const space = '\u2581'
  const ids = new Map(tokens.map((token, id) => [token, id]))
  const mergeable = (text: string) => types[ids.get(text) ?? -1] === tokenType.normal
  const ranked = tokens.flatMap((token, id) => {
    if (types[id] !== tokenType.normal) return []
    if (token.length > maxPieceLength) throw invalidTokenizer(`token ${id} has ${token.length} characters`)
    const characters = Array.from(token)
    return characters
      .slice(1)
      .map((_, cut) => [characters.slice(0, cut + 1).join(''), characters.slice(cut + 1).join('')] as const)
      .filter(([left, right]) => mergeable(left) && mergeable(right))
      .sort(
        (a, b) => (ids.get(a[0]) ?? 0) - (ids.get(b[0]) ?? 0) || (ids.get(a[1]) ?? 0) - (ids.get(b[1]) ?? 0),
      )
      .map((pair) => ({ pair, score: scores[id] ?? 0 }))
  })
  return {
    normalizer: {
      type: 'Sequence',
      normalizers: [
        ...(addSpacePrefix ? [{ type: 'Prepend', prepend: space }] : []),
        { type: 'Replace', pattern: { String: ' ' }, content: space },
      ],
    },
    pre_tokenizer: null,
    decoder: {
      type: 'Sequence',
      decoders: [
        { type: 'Replace', pattern: { String: space }, content: ' ' },
        { type: 'ByteFallback' },
        { type: 'Fuse' },
        ...(addSpacePrefix ? [{ type: 'Strip', content: ' ', start: 1, stop: 0 }] : []),
      ],
    },
    model: {
      type: 'BPE',
      dropout: null,
      unk_token: unknown === undefined ? null : (tokens[unknown] ?? null),
      continuing_subword_prefix: null,
      end_of_word_suffix: null,
      fuse_unk: true,
      byte_fallback: true,
      ignore_merges: false,
      vocab: Object.fromEntries(ids),
      merges: ranked.sort((a, b) => b.score - a.score).map(({ pair }) => pair),
    },
  }
}

const maxPieceLength = 1024
