import { Tokenizer } from '@huggingface/tokenizers'
import { z } from 'zod'
import { invalidBackbone } from './decoder-shape.ts'

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
    type: z.literal('BPE', { error: 'only byte-pair encoding (model.type BPE) is supported' }),
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

export const bytesOnly: Component = {
  type: 'ByteLevel',
  add_prefix_space: false,
  trim_offsets: true,
  use_regex: false,
}

/**
 * The same tokenizer, written so that `@huggingface/tokenizers` gives the ids of the reference implementation
 * (https://github.com/huggingface/tokenizers): its Digits splits on ASCII digits only and its ByteLevel takes
 * JavaScript's idea of white space, while Split follows Unicode in both.
 */
export function portableTokenizer(tokenizer: TokenizerJson): TokenizerJson {
  const { pre_tokenizer } = tokenizer
  return {
    ...tokenizer,
    truncation: null,
    padding: null,
    pre_tokenizer: pre_tokenizer && portablePreTokenizer(pre_tokenizer),
  }
}

const PreTokenizer = z.discriminatedUnion('type', [
  z.looseObject({ type: z.literal('Sequence'), pretokenizers: z.array(Component).max(32) }),
  z.looseObject({ type: z.literal('Digits'), individual_digits: z.boolean() }),
  z.looseObject({
    type: z.literal('ByteLevel'),
    add_prefix_space: z.boolean(),
    use_regex: z.boolean().default(true),
  }),
  z.looseObject({ type: z.literal('Split'), behavior: z.string(), invert: z.boolean().default(false) }),
  z.looseObject({ type: z.literal('Metaspace') }),
])

function portablePreTokenizer(raw: Component): Component {
  const parsed = PreTokenizer.safeParse(raw)
  if (!parsed.success) throw invalidTokenizer(`the pre-tokenizer ${raw.type} is not supported`)
  const component = parsed.data
  switch (component.type) {
    case 'Sequence':
      return { ...component, pretokenizers: component.pretokenizers.map(portablePreTokenizer) }
    case 'Digits':
      return splitOn(component.individual_digits ? '\\p{N}' : '\\p{N}+')
    case 'ByteLevel':
      return component.use_regex && !component.add_prefix_space
        ? { type: 'Sequence', pretokenizers: [splitOn(gpt2Pattern), bytesOnly] }
        : component
    case 'Split': {
      const faithful =
        component.behavior === 'Removed' || (component.behavior === 'Isolated' && !component.invert)
      if (!faithful) throw invalidTokenizer(`Split with behavior ${component.behavior} is not supported`)
      return component
    }
    case 'Metaspace':
      return component
  }
}

/** Parses a `tokenizer.json` and makes it portable. Throws `backbone_invalid`. */
export function parseTokenizer(json: unknown): TokenizerJson {
  const parsed = TokenizerJson.safeParse(json)
  if (!parsed.success) throw invalidTokenizer(z.prettifyError(parsed.error).replaceAll('\n', ' '))
  return portableTokenizer(parsed.data)
}

/** Special tokens in a text are parsed as such. */
export function loadTokenizer(tokenizer: TokenizerJson): Tokenizer {
  return new Tokenizer(tokenizer, { clean_up_tokenization_spaces: false })
}

/** Ids of a text alone, without what the tokenizer puts around a whole prompt (a beginning-of-sequence token). */
export function encode(tokenizer: Tokenizer, text: string): number[] {
  return tokenizer.encode(text, { add_special_tokens: false }).ids
}

/** Throws `backbone_invalid` unless the tokenizer loads, stays within `vocab` ids and gives a text back. */
export function checkTokenizer(json: TokenizerJson, vocab: number): Tokenizer {
  const ids = [...Object.values(json.model.vocab), ...json.added_tokens.map(({ id }) => id)]
  const largest = ids.reduce((max, id) => Math.max(max, id), 0)
  if (largest >= vocab) throw invalidTokenizer(`token id ${largest} is beyond the embedding's ${vocab} rows`)
  let tokenizer: Tokenizer
  try {
    tokenizer = loadTokenizer(json)
  } catch (error) {
    throw invalidTokenizer(error instanceof Error ? error.message : String(error))
  }
  const probe = 'Hello, wörld 42!'
  if (tokenizer.decode(encode(tokenizer, probe)).trim() !== probe)
    throw invalidTokenizer(`“${probe}” does not survive encoding and decoding`)
  return tokenizer
}

/** Control tokens that end a response or a turn, by the names that llama-family models give them. */
const endTokenNames = ['<|endoftext|>', '<|im_end|>', '<|eot_id|>', '<|eom_id|>', '<|end_of_text|>', '</s>']

/** `stated` and then the special tokens that always end a response, each once. */
export function endTokens(json: TokenizerJson, stated: readonly number[]): number[] {
  const known = json.added_tokens.filter(({ content, special }) => special && endTokenNames.includes(content))
  const ids = [...new Set([...stated, ...known.map(({ id }) => id)])]
  if (ids.length === 0) throw invalidTokenizer('it has no token that ends a response')
  return ids
}

export function invalidTokenizer(why: string) {
  return invalidBackbone('the tokenizer', why)
}
