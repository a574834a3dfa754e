import type { TokenizerTables } from './tokenizer-tables.ts'

/** How long tokens are, from which it follows how many a word has at least, long before it is merged. */
export class TokenLengths {
  readonly #tables: TokenizerTables
  /** The length in bytes of the longest token that begins with two bytes, made when it is first needed. */
  #longest: Uint32Array | undefined

  constructor(tables: TokenizerTables) {
    this.#tables = tables
  }

  /**
   * A lower bound on a word's number of tokens. It supposes that at each byte the longest token with this beginning
   * could stand.
   */
  least(word: Uint8Array): number {
    this.#longest ??= longestByStart(this.#tables)
    let tokens = 0
    let covered = 0
    let furthest = 0
    for (let at = 0; at < word.length; at++) {
      const start = ((word[at] ?? 0) << 8) | (word[at + 1] ?? 0)
      furthest = Math.max(furthest, at + Math.max(1, this.#longest[start] ?? 1))
      if (at < covered) continue
      tokens += 1
      covered = furthest
    }
    return tokens
  }
}

function longestByStart({ offsets, pool, sorted }: TokenizerTables): Uint32Array {
  const longest = new Uint32Array(2 ** 16)
  for (const id of sorted) {
    const from = offsets[id] ?? 0
    const length = (offsets[id + 1] ?? from) - from
    if (length < 2) continue
    const start = ((pool[from] ?? 0) << 8) | (pool[from + 1] ?? 0)
    longest[start] = Math.max(longest[start] ?? 0, length)
  }
  return longest
}
