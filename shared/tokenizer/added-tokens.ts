import type { AddedToken } from './tokenizer-file.ts'

export type Section = { readonly token: AddedToken } | { readonly text: string }

/**
 * The tokens that are found in a text before it is split into words, among them the special ones that steer a
 * model (`<|im_end|>`). A tenant's template may use those; a message's content may not, so content is `protect`ed
 * before it is rendered and stays plain text whatever it spells.
 */
export class AddedTokens {
  readonly #byContent: ReadonlyMap<string, AddedToken>
  readonly #pattern: RegExp | undefined
  readonly #specials: RegExp | undefined
  readonly #protected = new Map<string, string>()
  readonly #spellings = new Map<string, string>()
  readonly #marks: RegExp

  constructor(tokens: readonly AddedToken[]) {
    this.#byContent = new Map(tokens.map((token) => [token.content, token]))
    this.#pattern = anyOf(tokens.map(({ content }) => content))
    this.#specials = anyOf(tokens.filter(({ special }) => special).map(({ content }) => content))
    // Private-use characters around a nonce: no template touches them and no client can guess them.
    const nonce = crypto.randomUUID()
    tokens.forEach(({ content }, at) => {
      const mark = `\uf8fe${nonce}:${at}\uf8ff`
      this.#protected.set(content, mark)
      this.#spellings.set(mark, content)
    })
    this.#marks = new RegExp(`\uf8fe${nonce}:\\d+\uf8ff`, 'g')
  }

  /** The special token that a text spells, and nothing else. */
  specialId(text: string): number | undefined {
    const token = this.#byContent.get(text)
    return token?.special === true ? token.id : undefined
  }

  /** Content in which no special token will be found; `restore` undoes it. */
  protect(content: string): string {
    if (this.#specials === undefined) return content
    return content.replace(this.#specials, (token) => this.#protected.get(token) ?? token)
  }

  restore(text: string): string {
    return text.includes('\uf8fe')
      ? text.replace(this.#marks, (mark) => this.#spellings.get(mark) ?? mark)
      : text
  }

  /** The leftmost longest added tokens of a text and what lies between them, each found when it is asked for. */
  *split(text: string): Generator<Section, void> {
    let from = 0
    let stripStart = false
    const between = (end: number, stripEnd: boolean): Section[] => {
      let between = text.slice(from, end)
      if (stripStart) between = between.trimStart()
      if (stripEnd) between = between.trimEnd()
      return between === '' ? [] : [{ text: between }]
    }
    for (const match of this.#pattern === undefined ? [] : text.matchAll(this.#pattern)) {
      const token = this.#byContent.get(match[0])
      if (token === undefined) continue
      yield* between(match.index, token.lstrip)
      yield { token }
      from = match.index + match[0].length
      stripStart = token.rstrip
    }
    yield* between(text.length, false)
  }
}

function anyOf(contents: readonly string[]): RegExp | undefined {
  if (contents.length === 0) return undefined
  const longestFirst = contents.toSorted((a, b) => b.length - a.length)
  return new RegExp(
    longestFirst.map((content) => content.replace(/[.*+?^${}()|[\]\\]/g, '\\$&')).join('|'),
    'g',
  )
}
