import type { AddedToken } from './tokenizer-file.ts'

export interface FoundToken {
  readonly token: AddedToken
  /** UTF-16 units of the text that belong to it. */
  readonly from: number
  readonly to: number
}

const wordCharacter = /[\p{L}\p{M}\p{N}\p{Pc}]/u
const units = 2 ** 16

/** Places of contents, sorted by the units of the contents. Among equal ones the last stays the last. */
export function searchOrder(contents: readonly string[]): number[] {
  const content = (place: number) => contents[place] ?? ''
  return [...contents.keys()].sort((a, b) =>
    content(a) < content(b) ? -1 : content(a) > content(b) ? 1 : a - b,
  )
}

/** A plain loop: an isolate that maps thousands of tokens waits for it. */
function isSorted(contents: readonly string[]): boolean {
  for (let at = 1; at < contents.length; at++)
    if ((contents[at - 1] ?? '') > (contents[at] ?? '')) return false
  return true
}

/** Tokens by their place in a list, each made when it is asked for: a vocabulary may have thousands. */
interface TokenList {
  readonly contents: readonly string[]
  readonly tokenAt: (place: number) => AddedToken
}

/** Finds tokens in a text by their content: the leftmost, and of those the longest. */
export class TokenFinder {
  /** Sorted, so that the tokens with one beginning stand together: nothing else is made of them, however many. */
  readonly #contents: readonly string[]
  readonly #tokenAt: TokenList['tokenAt']
  /** The units that a token begins with. */
  readonly #starts = new Uint8Array(units)

  /** An empty content is never found. */
  constructor({ contents, tokenAt }: TokenList) {
    const order = isSorted(contents) ? undefined : searchOrder(contents)
    this.#contents = order === undefined ? contents : order.map((place) => contents[place] ?? '')
    this.#tokenAt = order === undefined ? tokenAt : (place) => tokenAt(order[place] ?? place)
    const high = this.#contents.length
    for (let low = 0; low < high; ) {
      const unit = this.#contents[low]?.charCodeAt(0) ?? Number.NaN
      if (Number.isNaN(unit)) low += 1
      else {
        this.#starts[unit] = 1
        low = this.#firstFrom(unit + 1, { low, high, at: 0 })
      }
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
      let last: number | undefined
      while (low < high && this.#contents[low]?.length === to - from) last = low++
      const token = last === undefined ? undefined : this.#tokenAt(last)
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
