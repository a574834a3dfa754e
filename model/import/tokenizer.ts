import { z } from 'zod'
import { QuartetError } from '../../shared/errors.ts'
import { issuesOf } from '../../shared/issues.ts'
import { TextCodec } from '../../shared/tokenizer/text-codec.ts'
import { invalidBackbone } from '../backbone/invalid-backbone.ts'

const AddedToken = z.looseObject({ id: z.int().min(0), content: z.string().min(1), special: z.boolean() })
const Component = z.looseObject({ type: z.string() })

/** `tokenizer.json` of Hugging Face's tokenizers library, as far as a backbone uses it. */
export const TokenizerJson = z.looseObject({
  added_tokens: z.array(AddedToken).max(100_000),
  normalizer: Component.nullable(),
  pre_tokenizer: Component.nullable(),
  post_processor: Component.nullable(),
  decoder: Component.nullable(),
  model: z.looseObject({
    type: z.literal('BPE'),
    vocab: z.record(z.string(), z.int().min(0)),
    merges: z.array(z.union([z.string(), z.tuple([z.string(), z.string()])])),
  }),
})
export type TokenizerJson = z.infer<typeof TokenizerJson>
type Component = z.infer<typeof Component>

/** GPT-2's split into words (`pat` in https://github.com/openai/gpt-2/blob/master/src/encoder.py). */
export const gpt2Pattern =
  "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+"

export function splitOn(pattern: string): Component {
  return { type: 'Split', pattern: { Regex: pattern }, behavior: 'Isolated', invert: false }
}

/** Takes bytes for characters. */
export const bytesOnly: Component = {
  type: 'ByteLevel',
  add_prefix_space: false,
  trim_offsets: true,
  use_regex: false,
}

const Kind = z.looseObject({ model: z.looseObject({ type: z.string() }) })

/** Throws `backbone_invalid`. */
export function parseTokenizer(json: unknown): TokenizerJson {
  const kind = Kind.safeParse(json).data?.model.type
  if (kind !== undefined && kind !== 'BPE')
    throw invalidTokenizer(
      `model.type is ${kind.slice(0, 60)}; only byte-pair encoding (model.type BPE) is supported: take a model that has it`,
    )
  const parsed = TokenizerJson.safeParse(json)
  if (!parsed.success) throw invalidTokenizer(issuesOf(parsed.error))
  return { ...parsed.data, truncation: null, padding: null }
}

/** Ids of a text alone, without what the tokenizer puts around a whole prompt. Special tokens in it are parsed. */
export function encode(codec: TextCodec, text: string): number[] {
  return codec.encodeRendered(text, { tokens: Number.POSITIVE_INFINITY, param: 'prompt' })
}

/** Throws `backbone_invalid` unless the tokenizer compiles, stays within `vocab` ids and gives a text back. */
export function checkTokenizer(json: TokenizerJson, vocab: number): TextCodec {
  const ids = [...Object.values(json.model.vocab), ...json.added_tokens.map(({ id }) => id)]
  const largest = ids.reduce((max, id) => Math.max(max, id), 0)
  if (largest >= vocab) throw invalidTokenizer(`token id ${largest} is beyond the embedding's ${vocab} rows`)
  let codec: TextCodec
  try {
    codec = TextCodec.compile(json)
  } catch (error) {
    throw invalidTokenizer(error instanceof Error ? error.message : String(error))
  }
  const probe = 'Hello, wörld 42!'
  if (codec.vocabulary.text(encode(codec, probe)).trim() !== probe)
    throw invalidTokenizer(`“${probe}” does not survive encoding and decoding`)
  return codec
}

/** The token that has this text, an added one first. */
export function tokenId({ added_tokens, model }: TokenizerJson, text: string): number | undefined {
  const added = added_tokens.find(({ content }) => content === text)
  return added?.id ?? (Object.hasOwn(model.vocab, text) ? model.vocab[text] : undefined)
}

/** Control tokens that end a response or a turn, by the names that llama-family models give them. */
const endTokenNames = ['<|endoftext|>', '<|im_end|>', '<|eot_id|>', '<|eom_id|>', '<|end_of_text|>', '</s>']

/** `stated` and then the special tokens that always end a response, each once. */
export function endTokens(json: TokenizerJson, stated: readonly number[]): number[] {
  const known = json.added_tokens.filter(({ content, special }) => special && endTokenNames.includes(content))
  const ids = [...new Set([...stated, ...known.map(({ id }) => id)])]
  if (ids.length === 0)
    throw invalidTokenizer(
      'it has no token that ends a response; state its eos_token_id (generation_config.json, or tokenizer.ggml.eos_token_id)',
    )
  return ids
}

class InvalidTokenizer extends QuartetError {
  readonly why: string

  constructor(why: string) {
    super('backbone_invalid', `the tokenizer: ${why}`)
    this.why = why
  }
}

export function invalidTokenizer(why: string): QuartetError {
  return new InvalidTokenizer(why)
}

/** What `make` returns; a tokenizer that it refuses is named by the file that has it. */
export function tokenizerIn<T>(path: string, make: () => T): T {
  try {
    return make()
  } catch (error) {
    throw error instanceof InvalidTokenizer ? invalidBackbone(path, error.why, error) : error
  }
}
