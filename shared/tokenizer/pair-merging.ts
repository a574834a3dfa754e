/** Positions of a word that a key of the heap can name. */
const positions = 2 ** 20
const none = -1

/**
 * Byte-pair encoding of a word: while any two neighbours can be merged, those of the lowest rank are, the leftmost
 * first. The same as the JavaScript library's, which looks pairs up by their text: this one does by number. What took it 1.5 s, 100,000
 * spaces, takes 0.2 s.
 */
export class PairMerging {
  readonly #texts: readonly string[]
  readonly #numbers: ReadonlyMap<string, number>
  /** By both halves' numbers. */
  readonly #ranks: ReadonlyMap<number, number>
  /** What the pair of each rank becomes. */
  readonly #merged: Int32Array

  constructor(merges: readonly (readonly [string, string])[]) {
    const texts: string[] = []
    const numbers = new Map<string, number>()
    const numberOf = (text: string) => {
      const known = numbers.get(text)
      if (known !== undefined) return known
      numbers.set(text, texts.length)
      return texts.push(text) - 1
    }
    const pairs = merges.map(([left, right]) => [numberOf(left), numberOf(right)] as const)
    this.#merged = Int32Array.from(merges, ([left, right]) => numberOf(left + right))
    this.#texts = texts
    this.#numbers = numbers
    this.#ranks = new Map(pairs.map(([left, right], rank) => [left * texts.length + right, rank]))
  }

  /** Of at most 2^20 characters. */
  merge(word: string): string[] {
    const characters = Array.from(word)
    const { length } = characters
    const numbers = new Int32Array(length)
    const next = new Int32Array(length)
    const previous = new Int32Array(length)
    const ranks = new Int32Array(length).fill(none)
    for (let at = 0; at < length; at++) {
      numbers[at] = this.#numbers.get(characters[at] ?? '') ?? none
      next[at] = at + 1
      previous[at] = at - 1
    }
    const heap = new Heap(3 * length)
    const look = (at: number) => {
      const left = numbers[at] ?? none
      const right = numbers[next[at] ?? length] ?? none
      const rank = left < 0 || right < 0 ? undefined : this.#ranks.get(left * this.#texts.length + right)
      ranks[at] = rank ?? none
      if (rank !== undefined) heap.push(rank * positions + at)
    }
    for (let at = 0; at < length - 1; at++) look(at)
    for (let least = heap.pop(); least !== undefined; least = heap.pop()) {
      const at = least % positions
      const rank = (least - at) / positions
      // The pair has been merged with another meanwhile.
      if (ranks[at] !== rank) continue
      const right = next[at] ?? length
      const after = next[right] ?? length
      numbers[at] = this.#merged[rank] ?? none
      next[at] = after
      if (after < length) previous[after] = at
      ranks[right] = none
      look(at)
      const before = previous[at] ?? none
      if (before >= 0) look(before)
    }
    const tokens: string[] = []
    for (let at = 0; at < length; at = next[at] ?? length)
      tokens.push(this.#texts[numbers[at] ?? none] ?? characters[at] ?? '')
    return tokens
  }
}

/** Numbers, the least of which comes first. */
class Heap {
  readonly #values: Float64Array
  #size = 0

  constructor(capacity: number) {
    this.#values = new Float64Array(capacity)
  }

  push(value: number): void {
    const values = this.#values
    let at = this.#size++
    while (at > 0) {
      const parent = (at - 1) >> 1
      const above = values[parent] ?? value
      if (above <= value) break
      values[at] = above
      at = parent
    }
    values[at] = value
  }

  pop(): number | undefined {
    if (this.#size === 0) return undefined
    const values = this.#values
    const least = values[0]
    this.#size -= 1
    const last = values[this.#size] ?? 0
    let at = 0
    for (;;) {
      let child = 2 * at + 1
      if (child >= this.#size) break
      if (child + 1 < this.#size && (values[child + 1] ?? 0) < (values[child] ?? 0)) child += 1
      const below = values[child] ?? 0
      if (below >= last) break
      values[at] = below
      at = child
    }
    values[at] = last
    return least
  }
}
