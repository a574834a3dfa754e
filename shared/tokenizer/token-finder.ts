import type { AddedToken } from './tokenizer-file.ts'

export interface FoundToken {
  readonly token: AddedToken
  /** UTF-16 units of the text that belong to it. */
  readonly from: number
  readonly to: number
}

const wordCharacter = /[\p{L}\p{M}\p{N}\p{Pc}]/u
const units = 2 ** 16

type ContentOf = (token: AddedToken) => string

/** Sorts tokens by the units of their contents. Among equal ones the last stays the last. */
export function inSearchOrder(tokens: readonly AddedToken[], contentOf: ContentOf): readonly AddedToken[] {
  for (let at = 1; at < tokens.length; at++) {
    const [before, token] = [tokens[at - 1], tokens[at]]
    if (before !== undefined && token !== undefined && contentOf(before) > contentOf(token))
      return tokens
        .map((token) => ({ token, content: contentOf(token) }))
        .sort((a, b) => (a.content < b.content ? -1 : a.content > b.content ? 1 : 0))
        .map(({ token }) => token)
  }
  return tokens
}

/** Finds tokens in a text by their content: the leftmost, and of those the longest. */
export class TokenFinder {
  /** Sorted, so that the tokens with one beginning stand together: nothing else is made of them, however many. */
  readonly #tokens: readonly AddedToken[]
  readonly #contents: readonly string[]
  /** The units that a token begins with. */
  readonly #starts = new Uint8Array(units)

  constructor(tokens: readonly AddedToken[], contentOf: ContentOf = ({ content }) => content) {
    this.#tokens = inSearchOrder(
      tokens.filter((token) => contentOf(token) !== ''),
      contentOf,
    )
    this.#contents = this.#tokens.map(contentOf)
    for (const content of this.#contents) this.#starts[content.charCodeAt(0)] = 1
  }

  /** Each token of a text that is accepted, when it is asked for. */
  *find(text: string, accepts: (token: AddedToken) => boolean = () => true): Generator<FoundToken, void> {
    for (let at = 0; at < text.length; ) {
      const found = this.#starts[text.charCodeAt(at)] === 1 ? this.#longest(text, at, accepts) : undefined
      if (found === undefined) at += 1
      else {
        yield found
        at = found.to
      }
    }
  }

  #longest(text: string, from: number, accepts: (token: AddedToken) => boolean): FoundToken | undefined {
    let found: FoundToken | undefined
    // The tokens that begin with the text from `from` to `to`.
    let low = 0
    let high = this.#contents.length
    for (let to = from; to < text.length && low < high; ) {
      const unit = text.charCodeAt(to)
      const length = to - from
      low = this.#firstFrom(unit, { low, high, at: length })
      high = this.#firstFrom(unit + 1, { low, high, at: length })
      to += 1
      // The tokens that end here stand first. Among equal ones the last counts.
      let token: AddedToken | undefined
      while (low < high && this.#contents[low]?.length === to - from) token = this.#tokens[low++]
      if (token !== undefined && accepts(token) && standsAlone(text, { token, from, to }))
        found = { token, from, to }
    }
    return found
  }

  /** The first token from `low` on whose unit at place `at` is at least `unit`. */
  #firstFrom(unit: number, { low, high, at }: { low: number; high: number; at: number }): number {
    let from = low
    let to = high
    while (from < to) {
      const middle = (from + to) >> 1
      if ((this.#contents[middle]?.charCodeAt(at) ?? 0) < unit) from = middle + 1
      else to = middle
    }
    return from
  }
}

function standsAlone(text: string, { token, from, to }: FoundToken): boolean {
  if (!token.single_word) return true
  const before = from === 0 ? '' : text.charAt(from - 1)
  return !wordCharacter.test(before) && !wordCharacter.test(text.charAt(to))
}
