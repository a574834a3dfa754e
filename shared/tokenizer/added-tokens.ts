import { TokenFinder } from './token-finder.ts'
import type { AddedToken } from './tokenizer-file.ts'
import { addedToken, isFoundNormalizedAt, type TokenizerHead } from './tokenizer-tables.ts'

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
  readonly #head: TokenizerHead
  // Private-use characters around a nonce: no template touches them and no client can guess them.
  readonly #nonce = crypto.randomUUID()
  readonly #marks = new RegExp(`\uf8fe${this.#nonce}:(\\d+)\uf8ff`, 'g')

  constructor(head: TokenizerHead, normalize: (text: string) => string) {
    const { contents } = head.added
    this.#head = head
    const normalized = [...contents.keys()].filter((place) => isFoundNormalizedAt(head, place))
    if (normalized.length === 0) {
      this.#found = new TokenFinder({ contents, tokenAt: (place) => addedToken(head, place) })
      return
    }
    const finderOf = (places: readonly number[], textOf: (content: string) => string) =>
      new TokenFinder({
        contents: places.map((place) => textOf(contents[place] ?? '')),
        tokenAt: (at) => addedToken(head, places[at] ?? 0),
      })
    this.#normalized = finderOf(normalized, normalize)
    this.#found = finderOf(
      [...contents.keys()].filter((place) => !isFoundNormalizedAt(head, place)),
      (content) => content,
    )
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
      ? text.replace(this.#marks, (mark, id) => this.#contentOf(Number(id)) ?? mark)
      : text
  }

  #contentOf(id: number): string | undefined {
    const { contents, ids } = this.#head.added
    return contents[ids.lastIndexOf(id)]
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
