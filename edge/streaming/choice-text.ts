import type { Vocabulary } from '../../shared/tokenizer/vocabulary.ts'
import { StopMatcher } from './stop-matcher.ts'

/** A sampled token as the node reports it. */
export interface SampledToken {
  readonly id: number
  readonly logprob?: number | undefined
  readonly top?: readonly (readonly [id: number, logprob: number])[] | undefined
}

export interface PlacedToken extends SampledToken {
  /** Where its text begins, in code points of the choice's text. */
  readonly offset: number
}

/** Text that may be shown, and the tokens it came from. */
export interface TextPiece {
  readonly text: string
  readonly tokens: readonly PlacedToken[]
}

export interface ChoiceTextOptions {
  readonly vocabulary: Pick<Vocabulary, 'bytes'>
  readonly stops: readonly string[]
  /** A stop string counts only behind this many tokens. */
  readonly minTokens?: number
}

/** A token whose text is not shown yet. Places are in UTF-16 units of the text. */
interface Waiting {
  readonly token: PlacedToken
  readonly start: number
  /** Unknown while the character that its bytes belong to is not whole. */
  end: number | undefined
}

/**
 * One choice's text from its tokens: bytes are joined before they are decoded, so that no UTF-8 sequence is ever
 * split, and what may become a stop string waits. Tokens come out with the text they belong to: those of one character
 * together, and none of a stop string.
 */
export class ChoiceText {
  readonly #vocabulary: Pick<Vocabulary, 'bytes'>
  readonly #stops: StopMatcher
  readonly #minTokens: number
  readonly #decoder = new TextDecoder('utf-8', { fatal: false, ignoreBOM: true })
  readonly #waiting: Waiting[] = []
  #tokens = 0
  #decoded = 0
  #codePoints = 0
  #shown = 0
  /** The last bytes, as far as they may begin a character. */
  #tail = new Uint8Array()

  constructor({ minTokens = 0, stops, vocabulary }: ChoiceTextOptions) {
    this.#vocabulary = vocabulary
    this.#stops = new StopMatcher(stops)
    this.#minTokens = minTokens
  }

  /** A stop string was completed; nothing more will come. */
  get stopped(): boolean {
    return this.#stops.stopped
  }

  /** The stop string that ended the text. */
  get stopString(): string | undefined {
    return this.#stops.matched
  }

  push(token: SampledToken): TextPiece {
    const start = this.#decoded
    const bytes = this.#vocabulary.bytes(token.id)
    const text = this.#decoder.decode(bytes, { stream: true })
    this.#waiting.push({ token: { ...token, offset: this.#codePoints }, start, end: undefined })
    this.#tokens += 1
    this.#decoded += text.length
    const points = [...text]
    this.#codePoints += points.length
    this.#tail = openCharacter(this.#tail, bytes)
    const whole = start + (points[0]?.length ?? 0)
    for (const entry of this.#waiting)
      if (entry.end === undefined && text !== '') entry.end = entry.start < start ? whole : this.#decoded
    const last = this.#waiting.at(-1)
    if (last !== undefined) last.end = this.#tail.length > 0 ? undefined : this.#decoded
    return this.#release(this.#tokens < this.#minTokens ? text : this.#stops.push(text))
  }

  /** The rest; a UTF-8 sequence that was never completed reads U+FFFD, as in the reference tokenizer. */
  finish(): TextPiece {
    const text = this.#stops.push(this.#decoder.decode()) + this.#stops.finish()
    const piece = this.#release(text)
    const rest = this.stopped ? [] : this.#waiting.splice(0).map(({ token }) => token)
    return { text, tokens: [...piece.tokens, ...rest] }
  }

  #release(text: string): TextPiece {
    this.#shown += text.length
    const isShown = ({ end, start }: Waiting) =>
      (end !== undefined && end <= this.#shown) || (this.stopped && start < this.#shown)
    const held = this.#waiting.findIndex((entry) => !isShown(entry))
    const count = held === -1 ? this.#waiting.length : held
    return { text, tokens: this.#waiting.splice(0, count).map(({ token }) => token) }
  }
}

/** The bytes at the end of `before` and `bytes` that begin a UTF-8 sequence and do not complete it. */
function openCharacter(before: Uint8Array, bytes: Uint8Array): Uint8Array<ArrayBuffer> {
  const end = Uint8Array.of(...before, ...bytes.subarray(-3)).subarray(-3)
  const lead = end.findLastIndex((byte) => byte >= 0xc0)
  if (lead === -1) return new Uint8Array()
  const first = end[lead] ?? 0
  const length = first >= 0xf0 ? 4 : first >= 0xe0 ? 3 : 2
  const isOpen = end.length - lead < length && end.subarray(lead + 1).every((byte) => byte >= 0x80)
  return isOpen ? end.slice(lead) : new Uint8Array()
}
