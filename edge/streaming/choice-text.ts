import type { Vocabulary } from '../../shared/tokenizer/vocabulary.ts'
import { StopMatcher } from './stop-matcher.ts'

/** A sampled token as the node reports it. */
export interface SampledToken {
  readonly id: number
  readonly logprob?: number | undefined
  readonly top?: readonly (readonly [id: number, logprob: number])[] | undefined
}

export interface PlacedToken extends SampledToken {
  /** Where its text begins, in UTF-16 units of the choice's text. */
  readonly offset: number
}

/** Text that may be shown, and the tokens it came from. */
export interface TextPiece {
  readonly text: string
  readonly tokens: readonly PlacedToken[]
}

/**
 * One choice's text from its tokens: bytes are joined before they are decoded, so that no UTF-8 sequence is ever
 * split, and what may become a stop string waits. Tokens come out with the text they belong to.
 */
export class ChoiceText {
  readonly #vocabulary: Pick<Vocabulary, 'bytes'>
  readonly #stops: StopMatcher
  readonly #decoder = new TextDecoder('utf-8', { fatal: false, ignoreBOM: true })
  readonly #waiting: { token: PlacedToken; end: number }[] = []
  #decoded = 0
  #shown = 0

  constructor(vocabulary: Pick<Vocabulary, 'bytes'>, stops: readonly string[]) {
    this.#vocabulary = vocabulary
    this.#stops = new StopMatcher(stops)
  }

  /** A stop string was completed; nothing more will come. */
  get stopped(): boolean {
    return this.#stops.stopped
  }

  push(token: SampledToken): TextPiece {
    const offset = this.#decoded
    const text = this.#decoder.decode(this.#vocabulary.bytes(token.id), { stream: true })
    this.#decoded += text.length
    this.#waiting.push({ token: { ...token, offset }, end: this.#decoded })
    return this.#release(this.#stops.push(text))
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
    const isShown = ({ end, token }: { token: PlacedToken; end: number }) =>
      end <= this.#shown || (this.stopped && token.offset < this.#shown)
    const held = this.#waiting.findIndex((entry) => !isShown(entry))
    const count = held === -1 ? this.#waiting.length : held
    return { text, tokens: this.#waiting.splice(0, count).map(({ token }) => token) }
  }
}
