import { TokenFinder } from './token-finder.ts'
import type { AddedToken } from './tokenizer-file.ts'

export type Section = { readonly token: AddedToken } | { readonly text: string }

const isSpecial = ({ special }: AddedToken) => special
const spaceInFront = /^\p{White_Space}+/u
const spaceBehind = /\p{White_Space}+$/u

/**
 * The tokens that are found in a text before it is split into words, among them the special ones that steer a
 * model (`<|im_end|>`). A tenant's template may use those; a message's content may not, so content is `protect`ed
 * before it is rendered and stays plain text whatever it spells.
 */
export class AddedTokens {
  /** Special tokens are looked for in the text as it is, so that whatever is protected stays so. */
  readonly #found: TokenFinder
  readonly #normalized: TokenFinder | undefined
  readonly #contents: ReadonlyMap<number, string>
  // Private-use characters around a nonce: no template touches them and no client can guess them.
  readonly #nonce = crypto.randomUUID()
  readonly #marks = new RegExp(`\uf8fe${this.#nonce}:(\\d+)\uf8ff`, 'g')

  constructor(tokens: readonly AddedToken[], normalize: (text: string) => string) {
    const normalized = tokens.filter((token) => token.normalized && !token.special)
    this.#found = new TokenFinder(tokens.filter((token) => !token.normalized || token.special))
    if (normalized.length > 0)
      this.#normalized = new TokenFinder(normalized, ({ content }) => normalize(content))
    this.#contents = new Map(tokens.map(({ id, content }) => [id, content]))
  }

  /** The special token that a text spells, and nothing else. */
  specialId(text: string): number | undefined {
    for (const { token, from, to } of this.#found.find(text, isSpecial))
      return from === 0 && to === text.length ? token.id : undefined
    return undefined
  }

  /** Content in which no special token will be found; `restore` undoes it. */
  protect(content: string): string {
    let safe = ''
    let from = 0
    for (const { token, from: at, to } of this.#found.find(content, isSpecial)) {
      safe += `${content.slice(from, at)}\uf8fe${this.#nonce}:${token.id}\uf8ff`
      from = to
    }
    return from === 0 ? content : safe + content.slice(from)
  }

  restore(text: string): string {
    return text.includes('\uf8fe')
      ? text.replace(this.#marks, (mark, id) => this.#contents.get(Number(id)) ?? mark)
      : text
  }

  /** The leftmost longest added tokens of a text and what lies between them, each found when it is asked for. */
  split(text: string): Generator<Section, void> {
    return sections(text, this.#found)
  }

  /** The same for the tokens that are looked for in normalised text alone. */
  splitNormalized(text: string): Iterable<Section> {
    return this.#normalized === undefined ? [{ text }] : sections(text, this.#normalized)
  }
}

function* sections(text: string, finder: TokenFinder): Generator<Section, void> {
  let from = 0
  let stripStart = false
  const between = (end: number, stripEnd: boolean): Section[] => {
    let between = text.slice(from, end)
    if (stripStart) between = between.replace(spaceInFront, '')
    if (stripEnd) between = between.replace(spaceBehind, '')
    return between === '' ? [] : [{ text: between }]
  }
  for (const { token, from: at, to } of finder.find(text)) {
    yield* between(at, token.lstrip)
    yield { token }
    from = to
    stripStart = token.rstrip
  }
  yield* between(text.length, false)
}
