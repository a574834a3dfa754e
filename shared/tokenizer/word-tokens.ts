import { fromByteCharacters } from './byte-characters.ts'
import { PairMerging } from './pair-merging.ts'
import { TokenLengths } from './token-lengths.ts'
import type { TokenizerTables } from './tokenizer-tables.ts'
import type { Vocabulary } from './vocabulary.ts'

/** The tokens of a word (BPE, as `models/bpe/model.rs` of Hugging Face's tokenizers has it). */
export class WordTokens {
  readonly #tables: TokenizerTables
  readonly #vocabulary: Vocabulary
  readonly #merging: PairMerging
  readonly #lengths: TokenLengths
  readonly #unmap: boolean

  constructor(tables: TokenizerTables, vocabulary: Vocabulary) {
    this.#tables = tables
    this.#vocabulary = vocabulary
    this.#merging = new PairMerging(tables)
    this.#lengths = new TokenLengths(tables)
    this.#unmap = tables.head.words.some(({ type }) => type === 'byte-characters')
  }

  encode(word: string): number[] {
    const { head } = this.#tables
    const bytes = this.#bytesOf(word)
    const whole = head.ignoreMerges ? this.#vocabulary.find(bytes) : undefined
    if (whole !== undefined) return [whole]
    return this.#merging.merge(head.alphabet === 'bytes' ? this.#ofBytes(bytes) : this.#ofCharacters(word))
  }

  /** The fewest tokens that the word can have; 0 where that is not certain. */
  least(word: string): number {
    const { byteIds, head } = this.#tables
    const bytes = this.#bytesOf(word)
    // A byte that is no token may vanish.
    return bytes.every((byte) => byteIds[byte] !== head.counts.tokens) ? this.#lengths.least(bytes) : 0
  }

  #bytesOf(word: string): Uint8Array {
    return (this.#unmap ? fromByteCharacters(word) : undefined) ?? new TextEncoder().encode(word)
  }

  #ofBytes(bytes: Uint8Array): readonly number[] {
    const { byteIds, head } = this.#tables
    const absent = head.counts.tokens
    const tokens = new Unknowns(head)
    for (const byte of bytes) {
      const id = byteIds[byte] ?? absent
      if (id === absent) tokens.pushUnknown()
      else tokens.push(id)
    }
    return tokens.all()
  }

  #ofCharacters(word: string): readonly number[] {
    const { byteIds, head } = this.#tables
    const absent = head.counts.tokens
    const tokens = new Unknowns(head)
    for (const character of word) {
      const id = this.#character(character.codePointAt(0) ?? 0)
      if (id !== undefined) {
        tokens.push(id)
        continue
      }
      const bytes = head.byteFallback ? Array.from(new TextEncoder().encode(character)) : []
      const ids = bytes.map((byte) => byteIds[byte] ?? absent)
      if (ids.length === 0 || ids.includes(absent)) tokens.pushUnknown()
      else for (const id of ids) tokens.push(id)
    }
    return tokens.all()
  }

  #character(codePoint: number): number | undefined {
    const { characterIds, characters } = this.#tables
    let from = 0
    let to = characters.length
    while (from < to) {
      const middle = (from + to) >> 1
      const found = characters[middle] ?? 0
      if (found === codePoint) return characterIds[middle]
      if (found < codePoint) from = middle + 1
      else to = middle
    }
    return undefined
  }
}

/**
 * A word's first tokens. A piece that is no token vanishes or becomes the unknown token; if the model says so, a run of
 * such pieces becomes one.
 */
class Unknowns {
  readonly #tokens: number[] = []
  readonly #unknown: number | null
  readonly #fuse: boolean
  #inUnknown = false

  constructor({ fuseUnknown, unknown }: { fuseUnknown: boolean; unknown: number | null }) {
    this.#unknown = unknown
    this.#fuse = fuseUnknown
  }

  push(token: number): void {
    this.#tokens.push(token)
    this.#inUnknown = false
  }

  pushUnknown(): void {
    if (this.#unknown !== null && !(this.#fuse && this.#inUnknown)) this.#tokens.push(this.#unknown)
    this.#inUnknown = true
  }

  all(): readonly number[] {
    return this.#tokens
  }
}
