import { BPE, ByteLevelPreTokenizer, Tokenizer } from '@huggingface/tokenizers'
import { QuartetError } from '../errors.ts'
import { AddedTokens } from './added-tokens.ts'
import { PairMerging } from './pair-merging.ts'
import { TokenLengths } from './token-lengths.ts'
import { TokenizerFile } from './tokenizer-file.ts'
import { Vocabulary } from './vocabulary.ts'
import { splitWords, stagesOf, wordsOf } from './word-splitting.ts'

/** Words remembered with their ids. A word's ids depend on nothing around it. */
const maxCachedWords = 50_000
const maxCachedWordLength = 64
/** No text but an attack has words this long. */
const maxWordLength = 100_000

const mapBytes = new ByteLevelPreTokenizer({
  type: 'ByteLevel',
  use_regex: false,
  add_prefix_space: false,
  trim_offsets: false,
})

/** How many ids a prompt may have, and the request field it came from. */
export interface PromptLimit {
  readonly tokens: number
  readonly param: 'messages' | 'prompt'
}

/** Text to token ids of one tokenizer, and its vocabulary for the way back. */
export class TextCodec {
  readonly vocabulary: Vocabulary
  readonly addedTokens: AddedTokens
  readonly #tokenizer: Tokenizer
  readonly #mapBytes: boolean
  readonly #stages: ReturnType<typeof stagesOf>
  readonly #lengths: TokenLengths
  readonly #words = new Map<string, readonly number[]>()
  readonly #frame: { readonly before: readonly number[]; readonly after: readonly number[] }

  /** Throws when the file is no tokenizer that this worker can run. */
  constructor(json: unknown) {
    const file = TokenizerFile.parse(json)
    const { mapBytes: bytesAreMappedHere, stage } = splitWords(file)
    this.#tokenizer = new Tokenizer(
      { normalizer: null, post_processor: null, ...file, pre_tokenizer: stage },
      { clean_up_tokenization_spaces: false },
    )
    mergeByNumber(this.#tokenizer.model)
    this.#mapBytes = bytesAreMappedHere
    this.#stages = stagesOf(this.#tokenizer.pre_tokenizer)
    this.#lengths = new TokenLengths(this.#tokenizer.model?.tokens_to_ids ?? new Map())
    this.vocabulary = new Vocabulary(this.#tokenizer, file)
    this.addedTokens = new AddedTokens(file.added_tokens)
    this.#frame = frameOf(this.#tokenizer)
  }

  /**
   * A raw prompt as the reference tokenizer encodes it: special tokens in it are parsed, and what the tokenizer
   * puts around a text (a BOS token) is put. Gives up with `context_length_exceeded` beyond `limit` ids.
   */
  encodePrompt(text: string, limit: PromptLimit): number[] {
    const { after, before } = this.#frame
    return [...before, ...this.encodeRendered(text, limit), ...after]
  }

  /** A rendered template: its special tokens are parsed, those in protected content are not. */
  encodeRendered(text: string, limit: PromptLimit): number[] {
    const ids: number[] = []
    let at = 0
    for (const section of this.addedTokens.split(text)) {
      if ('token' in section) ids.push(section.token.id)
      else this.#encodePlain(this.addedTokens.restore(section.text), { section: at, into: ids, limit })
      refuseOver(limit, ids.length)
      at += 1
    }
    return ids
  }

  /** Text without added tokens. `section` is its place in the whole text, which some pre-tokenizers heed. */
  #encodePlain(
    text: string,
    { section, into, limit }: { section: number; into: number[]; limit: PromptLimit },
  ): void {
    const { normalizer } = this.#tokenizer
    const normal = normalizer === null ? text : normalizer.normalize(text)
    if (normal === '') return
    for (const word of wordsOf(normal, { stages: this.#stages, section })) {
      for (const id of this.#encodeWord(word, limit, into.length)) into.push(id)
      refuseOver(limit, into.length)
    }
  }

  /** A word behind so many tokens. */
  #encodeWord(word: string, limit: PromptLimit, behind: number): readonly number[] {
    const known = this.#words.get(word)
    if (known !== undefined) return known
    if (word.length > maxWordLength)
      throw new QuartetError(
        'invalid_request',
        `a run of ${word.length} characters without a word boundary is too long; ${maxWordLength} is the limit`,
        { param: limit.param },
      )
    const { model } = this.#tokenizer
    const mapped = this.#mapBytes ? mapBytes.pre_tokenize(word) : [word]
    if (behind + word.length > limit.tokens)
      for (const part of mapped) refuseOver(limit, behind + this.#lengths.least(part))
    const tokens = model?.encode(mapped) ?? []
    const ids = tokens.flatMap((token) => model?.tokens_to_ids.get(token) ?? model?.unk_token_id ?? [])
    if (word.length <= maxCachedWordLength) {
      if (this.#words.size >= maxCachedWords) this.#words.clear()
      this.#words.set(word, ids)
    }
    return ids
  }
}

/** Has the library merge as it does, but faster. One that marks the parts of words it leaves alone. */
function mergeByNumber(model: Tokenizer['model']): void {
  if (!(model instanceof BPE) || model.config.end_of_word_suffix || model.continuing_subword_suffix) return
  const merging = new PairMerging(model.merges)
  model.bpe = (word) => merging.merge(word)
}

function refuseOver(limit: PromptLimit, tokens: number): void {
  if (tokens > limit.tokens)
    throw new QuartetError(
      'context_length_exceeded',
      `the prompt is longer than the ${limit.tokens} tokens that this model has room for; shorten it`,
      { param: limit.param },
    )
}

/** What a tokenizer puts around a text, learned from a text that it does not change. */
function frameOf(tokenizer: Tokenizer) {
  const bare = tokenizer.encode('a', { add_special_tokens: false }).ids
  const framed = tokenizer.encode('a').ids
  const at = framed.findIndex((_, start) => bare.every((id, i) => framed[start + i] === id))
  return { before: framed.slice(0, Math.max(at, 0)), after: framed.slice(at + bare.length) }
}
