import type { AddedToken } from './tokenizer-file.ts'

export interface FoundToken {
  readonly token: AddedToken
  /** UTF-16 units of the text that belong to it. */
  readonly from: number
  readonly to: number
}

const wordCharacter = /[\p{L}\p{M}\p{N}\p{Pc}]/u
const units = 2 ** 16

/** Finds tokens in a text by their content: the leftmost, and of those the longest. */
export class TokenFinder {
  /** A tree of prefixes: from a prefix's number and the next unit to the longer prefix's. The root is 0. */
  readonly #longer = new Map<number, number>()
  readonly #tokens = new Map<number, AddedToken>()
  /** The units that a token begins with. */
  readonly #starts = new Uint8Array(units)

  constructor(
    tokens: readonly AddedToken[],
    contentOf: (token: AddedToken) => string = ({ content }) => content,
  ) {
    for (const token of tokens) {
      const content = contentOf(token)
      if (content === '') continue
      let prefix = 0
      for (let at = 0; at < content.length; at++) {
        const key = prefix * units + content.charCodeAt(at)
        const known = this.#longer.get(key)
        prefix = known ?? this.#longer.size + 1
        if (known === undefined) this.#longer.set(key, prefix)
      }
      this.#tokens.set(prefix, token)
      this.#starts[content.charCodeAt(0)] = 1
    }
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
    let prefix: number | undefined = 0
    let found: FoundToken | undefined
    for (let at = from; prefix !== undefined; at++) {
      const token = this.#tokens.get(prefix)
      if (token !== undefined && accepts(token) && standsAlone(text, { token, from, to: at }))
        found = { token, from, to: at }
      prefix = at < text.length ? this.#longer.get(prefix * units + text.charCodeAt(at)) : undefined
    }
    return found
  }
}

function standsAlone(text: string, { token, from, to }: FoundToken): boolean {
  if (!token.single_word) return true
  const before = from === 0 ? '' : text.charAt(from - 1)
  return !wordCharacter.test(before) && !wordCharacter.test(text.charAt(to))
}
