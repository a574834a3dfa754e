import { TextCodec } from '../../shared/tokenizer/text-codec.ts'
import { addedTokens, readTables } from '../../shared/tokenizer/tokenizer-tables.ts'

/** Characters of a forced text that are read at a time. */
const mostCharacters = 200
/** Tokens in front of a forced text that it is read with, as they may change how its first word is written. */
export const mostLatest = 16

/**
 * The last word of a text, whose tokens change with what follows: letters and digits with a contraction and the one
 * character in front that some tokenizers join to them, white space, or other characters.
 */
const lastWord =
  /(?:[^\p{L}\p{M}\p{N}]?[\p{L}\p{M}\p{N}]+(?:'[\p{L}\p{M}\p{N}]*)?|\s+|[^\p{L}\p{M}\p{N}\s]+)$/u

/** Writes texts that a grammar forces as the tokenizer does, which is how the model has learned to write them. */
export class ForcedText {
  readonly #codec: TextCodec
  /** The beginnings of added tokens that a text may spell, which may lie across words. */
  readonly #beginnings = new Set<string>()
  readonly #longestBeginning: number

  /** `tokenizer`: as `compileTokenizer` makes it. */
  constructor(tokenizer: Uint8Array) {
    const tables = readTables(tokenizer)
    this.#codec = new TextCodec(tables)
    let longest = 0
    for (const { content, special } of addedTokens(tables.head)) {
      if (special) continue
      longest = Math.max(longest, content.length - 1)
      for (let end = 1; end < content.length; end++) this.#beginnings.add(content.slice(0, end))
    }
    this.#longestBeginning = longest
  }

  /**
   * The first tokens of `forced` behind an answer's `latest` tokens: those that stay the same whatever follows it. None
   * where the tokenizer would join it to what stands in front.
   */
  tokens(latest: readonly number[], forced: string): readonly number[] {
    const text = forced.slice(0, mostCharacters).replace(/(?:\ufffd.*|[\ud800-\udbff])$/s, '')
    const fixed = byteLength(this.#withoutOpenEnd(text))
    if (fixed === 0) return []
    const before = this.#codec.vocabulary.text(latest).replace(/^\ufffd+/, '')
    const { addedTokens, vocabulary } = this.#codec
    const ids = this.#codec.encodeRendered(addedTokens.protect(before + text), {
      tokens: Number.POSITIVE_INFINITY,
      param: 'prompt',
    })
    const bytes = new TextEncoder().encode(text)
    const tokens: number[] = []
    let start = bytes.length
    // From the end: in front may stand what the tokenizer has put there.
    for (const id of ids.toReversed()) {
      if (start === 0) return tokens.toReversed()
      const spelled = vocabulary.spelling(id)
      const end = start
      start -= spelled.length
      if (start < 0 || spelled.some((byte, place) => byte !== bytes[start + place])) return []
      if (end <= fixed) tokens.push(id)
    }
    return start === 0 ? tokens.toReversed() : []
  }

  /** A text without its last word, and without what may become an added token and the word that this would end. */
  #withoutOpenEnd(text: string): string {
    let length = Math.min(this.#longestBeginning, text.length)
    while (length > 0 && !this.#beginnings.has(text.slice(-length))) length--
    const whole = text.replace(lastWord, '')
    const plain = text.slice(0, text.length - length).replace(lastWord, '')
    return plain.length < whole.length ? plain : whole
  }
}

const byteLength = (text: string): number => new TextEncoder().encode(text).length
