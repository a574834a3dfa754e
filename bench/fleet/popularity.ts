/** Zipf's law over `count` items: the k-th is asked for with probability proportional to 1/k^exponent. */
export class Popularity {
  /** Probability that one of the first k + 1 is asked for. */
  readonly #cumulative: Float64Array

  constructor({ count, exponent }: { count: number; exponent: number }) {
    this.#cumulative = new Float64Array(count)
    let sum = 0
    for (let at = 0; at < count; at++) {
      sum += (at + 1) ** -exponent
      this.#cumulative[at] = sum
    }
    for (let at = 0; at < count; at++) this.#cumulative[at] = (this.#cumulative[at] ?? 0) / sum
  }

  /** The item that a uniform number in [0, 1) picks. */
  pick(uniform: number): number {
    let low = 0
    let high = this.#cumulative.length - 1
    while (low < high) {
      const middle = (low + high) >> 1
      if ((this.#cumulative[middle] ?? 1) > uniform) high = middle
      else low = middle + 1
    }
    return low
  }

  /** Share of the requests that ask for one of the `most` most popular items. */
  shareOfTop(most: number): number {
    return this.#cumulative[Math.min(most, this.#cumulative.length) - 1] ?? 0
  }
}
