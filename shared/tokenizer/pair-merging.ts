import type { TokenizerTables } from './tokenizer-tables.ts'

/** Positions of a word that a key of the heap can name. */
const positions = 2 ** 20
const none = -1

type Merges = Pick<TokenizerTables, 'starts' | 'rights' | 'ranks' | 'merged'>

/**
 * Byte-pair encoding of a word: while any two neighbours can be merged, those of the lowest rank are, the leftmost
 * first. A word of n tokens takes O(n log n).
 */
export class PairMerging {
  readonly #tables: Merges

  constructor(tables: Merges) {
    this.#tables = tables
  }

  /** The tokens that a word's first tokens become; at most 2^20. */
  merge(tokens: readonly number[]): number[] {
    const { length } = tokens
    if (length < 2) return [...tokens]
    const { merged, ranks: rankOf } = this.#tables
    const ids = Int32Array.from(tokens)
    const next = new Int32Array(length)
    const previous = new Int32Array(length)
    /** Where the merges' tables have the pair that begins here. */
    const pairs = new Int32Array(length).fill(none)
    for (let at = 0; at < length; at++) {
      next[at] = at + 1
      previous[at] = at - 1
    }
    const heap = new Heap(3 * length)
    const look = (at: number) => {
      const right = next[at] ?? length
      const pair = right < length ? this.#find(ids[at] ?? 0, ids[right] ?? 0) : none
      pairs[at] = pair
      if (pair !== none) heap.push((rankOf[pair] ?? 0) * positions + at)
    }
    for (let at = 0; at < length - 1; at++) look(at)
    for (let least = heap.pop(); least !== undefined; least = heap.pop()) {
      const at = least % positions
      const pair = pairs[at] ?? none
      // The pair has been merged with another meanwhile.
      if (pair === none || rankOf[pair] !== (least - at) / positions) continue
      const right = next[at] ?? length
      const after = next[right] ?? length
      ids[at] = merged[pair] ?? none
      next[at] = after
      if (after < length) previous[after] = at
      pairs[right] = none
      look(at)
      const before = previous[at] ?? none
      if (before >= 0) look(before)
    }
    const result: number[] = []
    for (let at = 0; at < length; at = next[at] ?? length) result.push(ids[at] ?? 0)
    return result
  }

  #find(left: number, right: number): number {
    const { rights, starts } = this.#tables
    let from = starts[left] ?? 0
    let to = starts[left + 1] ?? from
    while (from < to) {
      const middle = (from + to) >> 1
      const found = rights[middle] ?? 0
      if (found === right) return middle
      if (found < right) from = middle + 1
      else to = middle
    }
    return none
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
