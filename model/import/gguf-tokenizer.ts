import { z } from 'zod'
import { issuesOf } from '../../shared/issues.ts'
import type { GgufMetadata } from './gguf-header.ts'
import { preTokenizers } from './gguf-pretokenizers.ts'
import { bytesOnly, invalidTokenizer, parseTokenizer, splitOn, type TokenizerJson } from './tokenizer.ts'

/** `tokenizer.ggml.token_type` (llama.cpp `llama_token_type`). */
const tokenType = { normal: 1, unknown: 2, control: 3, userDefined: 4, byte: 6 } as const

const maxTokens = 1_000_000

const Vocabulary = z
  .object({
    'tokenizer.ggml.model': z.string(),
    'tokenizer.ggml.pre': z
      .string()
      .default('')
      .transform((name) => name || 'default'),
    'tokenizer.ggml.tokens': z.array(z.string()).min(1).max(maxTokens),
    'tokenizer.ggml.token_type': z.array(z.number()).max(maxTokens),
    'tokenizer.ggml.merges': z.array(z.string()).max(maxTokens).optional(),
    'tokenizer.ggml.scores': z.array(z.number()).max(maxTokens).default([]),
    'tokenizer.ggml.unknown_token_id': z.number().optional(),
    'tokenizer.ggml.add_space_prefix': z.boolean().default(true),
    'tokenizer.ggml.bos_token_id': z.union([z.int(), z.bigint().transform(Number)]).optional(),
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
  const kind = metadata['tokenizer.ggml.model']
  const convert = typeof kind === 'string' && Object.hasOwn(converters, kind) ? converters[kind] : undefined
  if (convert === undefined)
    throw invalidTokenizer(
      `tokenizer.ggml.model ${kind === undefined ? '(none)' : shown(String(kind))} is not supported; ${Object.keys(converters).join(' and ')} are: take the model's Hugging Face folder, or a model with such a tokenizer`,
    )
  const parsed = Vocabulary.safeParse(metadata)
  if (!parsed.success) throw invalidTokenizer(issuesOf(parsed.error))
  const { types } = parsed.data
  const tokens = pieceTexts(parsed.data)
  const vocabulary: Vocabulary = { ...parsed.data, tokens }
  if (types.length !== tokens.length)
    throw invalidTokenizer(`it has ${tokens.length} tokens and ${types.length} token types`)
  if (new Set(tokens).size !== tokens.length) throw invalidTokenizer('two of its tokens have the same text')
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
    addBegin ??
    (model === 'llama' || (Object.hasOwn(preTokenizers, pre) && preTokenizers[pre]?.addBegin === true))
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

/** A text of the file as an error shows it. */
const shown = (text: string) => (text.length > 60 ? `${text.slice(0, 60)}…` : text)

/** The first of many names. */
const some = (names: readonly string[]) => `${names.slice(0, 16).join(', ')} and ${names.length - 16} more`

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

/** GPT-2's byte-level BPE: text is split into words, the words into bytes, the bytes are merged. */
function byteLevelBpe({ pre, tokens, merges }: Vocabulary): object {
  if (merges === undefined)
    throw invalidTokenizer(
      'tokenizer.ggml.merges is missing, without which no text becomes its tokens; take another conversion of the model',
    )
  const preTokenizer = Object.hasOwn(preTokenizers, pre) ? preTokenizers[pre] : undefined
  if (preTokenizer === undefined)
    throw invalidTokenizer(
      `tokenizer.ggml.pre ${shown(pre)} is not supported; ${some(Object.keys(preTokenizers))} are (model/import/gguf-pretokenizers.ts)`,
    )
  return {
    normalizer: preTokenizer.composes === true ? { type: 'NFC' } : null,
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
      ignore_merges: preTokenizer.ignoreMerges === true,
      vocab: Object.fromEntries(tokens.map((token, id) => [token, id])),
      merges: merges.map(mergePair),
    },
  }
}

/** A merge is two non-empty tokens with a space between; the first may itself begin with a space. */
function mergePair(merge: string): [string, string] {
  const space = merge.indexOf(' ', 1)
  if (space === -1) throw invalidTokenizer(`the merge “${shown(merge)}” is not two tokens`)
  return [merge.slice(0, space), merge.slice(space + 1)]
}

/**
 * SentencePiece BPE (Llama 1 and 2, Mistral 7B, Gemma) with bytes for what the vocabulary lacks. Its merges are not in
 * the file: every way to cut a token in two tokens is one, ranked as the converters of Hugging Face's transformers rank
 * them (`SentencePieceExtractor`, `GemmaSentencePieceExtractor`): by the token's score, then longer halves first.
 */
function sentencePieceBpe({ tokens, types, scores, unknown, addSpacePrefix }: Vocabulary): object {
  if (scores.length !== tokens.length)
    throw invalidTokenizer(`it has ${tokens.length} tokens and ${scores.length} scores`)
  const ids = new Map(tokens.map((token, id) => [token, id]))
  const merges = tokens.flatMap((token, id): PieceMerge[] => {
    if (!mergeable(types[id])) return []
    if (token.length > maxPieceLength) throw invalidTokenizer(`token ${id} has ${token.length} characters`)
    // The model's own score; converters to GGUF write another one over it.
    const score = types[id] === tokenType.userDefined ? 0 : (scores[id] ?? 0)
    return cuts(token, ids)
      .filter(({ leftId, rightId }) => mergeable(types[leftId]) && mergeable(types[rightId]))
      .sort((a, b) => a.leftId - b.leftId || a.rightId - b.rightId)
      .map((cut) => ({ ...cut, score }))
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
      merges: merges
        .sort((a, b) => b.score - a.score || b.leftLength - a.leftLength || b.rightLength - a.rightLength)
        .map(({ left, right }) => [left, right]),
    },
  }
}

const maxPieceLength = 1024
const space = '\u2581'

const mergeable = (type: number | undefined) => type === tokenType.normal || type === tokenType.userDefined

interface Cut {
  readonly left: string
  readonly right: string
  readonly leftId: number
  readonly rightId: number
  /** Characters. */
  readonly leftLength: number
  readonly rightLength: number
}
type PieceMerge = Cut & { readonly score: number }

/** The ways to cut a token in two tokens. */
function cuts(token: string, ids: ReadonlyMap<string, number>): Cut[] {
  const characters = Array.from(token)
  return characters.slice(1).flatMap((_, at) => {
    const left = characters.slice(0, at + 1).join('')
    const right = characters.slice(at + 1).join('')
    const leftId = ids.get(left)
    const rightId = ids.get(right)
    return leftId === undefined || rightId === undefined
      ? []
      : [{ left, right, leftId, rightId, leftLength: at + 1, rightLength: characters.length - at - 1 }]
  })
}

/** Converters write a user-defined token's spaces as spaces; the vocabulary has them as SentencePiece's. */
const pieceTexts = ({ model, tokens, types }: Pick<Vocabulary, 'model' | 'tokens' | 'types'>) =>
  model === 'llama'
    ? tokens.map((token, id) => (types[id] === tokenType.userDefined ? token.replaceAll(' ', space) : token))
    : tokens
