import type { PromptPlace } from '../api/prompts.ts'
import { QuartetError } from '../errors.ts'
import { AddedTokens } from './added-tokens.ts'
import { compileTokenizer } from './compile-tokenizer.ts'
import { normalizing } from './normalizing.ts'
import { readTables, type TokenizerTables } from './tokenizer-tables.ts'
import { Vocabulary } from './vocabulary.ts'
import { splitting } from './word-splitting.ts'
import { WordTokens } from './word-tokens.ts'

/** Words remembered with their ids. A word's ids depend on nothing around it. */
const maxCachedWords = 50_000
const maxCachedWordLength = 64
/** No text but an attack has words this long. */
const maxWordLength = 100_000

/** How many ids a prompt may have, and the request field it came from. */
export interface PromptLimit {
  readonly tokens: number
  readonly param: 'messages' | PromptPlace | 'bad_words'
}

/** Text to token ids of one tokenizer, and its vocabulary for the way back. */
export class TextCodec {
  readonly vocabulary: Vocabulary
  readonly addedTokens: AddedTokens
  readonly #normalize: (text: string) => string
  readonly #split: ReturnType<typeof splitting>
  readonly #tokens: WordTokens
  readonly #words = new Map<string, readonly number[]>()
  /** The tokens put in front of a whole prompt, and behind it. */
  readonly frame: { readonly before: readonly number[]; readonly after: readonly number[] }

  /** Reads a `tokenizer.json`. Throws `invalid_request` that names what is not supported. */
  static compile(json: unknown): TextCodec {
    return new TextCodec(readTables(compileTokenizer(json)))
  }

  /** The tables stay in memory. */
  constructor(tables: TokenizerTables) {
    const { head } = tables
    this.vocabulary = new Vocabulary(tables)
    this.#normalize = normalizing(head.normalizer)
    this.addedTokens = new AddedTokens(head, this.#normalize)
    this.#split = splitting(head.words)
    this.#tokens = new WordTokens(tables, this.vocabulary)
    this.frame = { before: head.before, after: head.after }
  }

  /**
   * A raw prompt as the reference tokenizer encodes it: special tokens in it are parsed, and what the tokenizer
   * puts around a text (a BOS token) is put. Gives up with `context_length_exceeded` beyond `limit` ids.
   */
  encodePrompt(text: string, limit: PromptLimit): number[] {
    const { after, before } = this.frame
    return [...before, ...this.encodeRendered(text, limit), ...after]
  }

  /** A rendered template: its special tokens are parsed, those in protected content are not. */
  encodeRendered(text: string, limit: PromptLimit): number[] {
    const ids: number[] = []
    let first = true
    for (const section of this.addedTokens.split(text)) {
      if ('token' in section) ids.push(section.token.id)
      else this.#encodePlain(this.addedTokens.restore(section.text), { first, into: ids, limit })
      refuseOver(limit, ids.length)
      first = false
    }
    return ids
  }

  /**
   * Text without special tokens. `first`: the whole text begins with it, which some pre-tokenizers treat differently.
   */
  #encodePlain(
    text: string,
    { first, into, limit }: { first: boolean; into: number[]; limit: PromptLimit },
  ): void {
    let begins = first
    for (const section of this.addedTokens.splitNormalized(this.#normalize(text))) {
      if ('token' in section) into.push(section.token.id)
      else
        for (const word of this.#split(section.text, begins)) {
          for (const id of this.#encodeWord(word, limit, into.length)) into.push(id)
          refuseOver(limit, into.length)
        }
      refuseOver(limit, into.length)
      begins = false
    }
  }

  /** A word behind this many tokens. */
  #encodeWord(word: string, limit: PromptLimit, behind: number): readonly number[] {
    const known = this.#words.get(word)
    if (known !== undefined) return known
    if (word.length > maxWordLength)
      throw new QuartetError(
        'invalid_request',
        `a run of ${word.length} characters without a word boundary in ${subject(limit)} is too long; ${maxWordLength} is the limit`,
        { param: limit.param },
      )
    if (behind + word.length > limit.tokens) refuseOver(limit, behind + this.#tokens.least(word))
    const ids = this.#tokens.encode(word)
    if (word.length <= maxCachedWordLength) {
      if (this.#words.size >= maxCachedWords) this.#words.clear()
      this.#words.set(word, ids)
    }
    return ids
  }
}

/** What a refusal calls the text: by its place where a request has several. */
const subject = ({ param }: PromptLimit): string => (param.endsWith(']') ? param : 'the prompt')

function refuseOver(limit: PromptLimit, tokens: number): void {
  if (tokens > limit.tokens)
    throw new QuartetError(
      'context_length_exceeded',
      `${subject(limit)} is longer than the ${limit.tokens} tokens that this model has room for; shorten it`,
      { param: limit.param },
    )
}
