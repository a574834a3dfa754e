/** How long tokens are, which says of a word how many it takes at least, long before it is merged. */
export class TokenLengths {
  readonly #tokens: ReadonlyMap<string, number>
  /** Of the longest token that begins with two characters, in characters; made when it is first needed. */
  #longest: ReadonlyMap<string, number> | undefined

  constructor(tokens: ReadonlyMap<string, number>) {
    this.#tokens = tokens
  }

  /** As many as if from each character on the longest token stood that begins so. 0 where that is not certain. */
  least(word: string): number {
    this.#longest ??= longestByStart(this.#tokens)
    const characters = Array.from(word)
    let tokens = 0
    let covered = 0
    let furthest = 0
    for (const [at, character] of characters.entries()) {
      // What is no token may vanish.
      if (!this.#tokens.has(character)) return 0
      furthest = Math.max(furthest, at + (this.#longest.get(character + (characters[at + 1] ?? '')) ?? 1))
      if (at < covered) continue
      tokens += 1
      covered = furthest
    }
    return tokens
  }
}

function longestByStart(tokens: ReadonlyMap<string, number>): Map<string, number> {
  const longest = new Map<string, number>()
  for (const token of tokens.keys()) {
    const [first, second, ...rest] = token
    if (first === undefined || second === undefined) continue
    const start = first + second
    longest.set(start, Math.max(longest.get(start) ?? 0, 2 + rest.length))
  }
  return longest
}
