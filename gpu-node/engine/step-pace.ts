const memorySeconds = 10

export interface RanStep {
  readonly seconds: number
  /** Rows of prompts that it ran. */
  readonly prefillRows: number
}

export interface WorkLeft {
  /** Rows of prompts, of all sequences together: prompts take turns. */
  readonly prefillRows: number
  /** Tokens of the sequence that may generate most: each step gives every sequence one. */
  readonly tokens: number
}

/** How long steps take: the slowest one lately, and how fast prompts are read. Both are forgotten over ten seconds of steps. */
export class StepPace {
  #slowest = 0
  #rows = 0
  #rowSeconds = 0

  record({ prefillRows, seconds }: RanStep): void {
    const keep = Math.exp(-seconds / memorySeconds)
    this.#slowest = Math.max(seconds, this.#slowest * keep)
    if (prefillRows === 0) return
    this.#rows = this.#rows * keep + prefillRows
    this.#rowSeconds = this.#rowSeconds * keep + seconds
  }

  /** Seconds within which the work is done at this pace; undefined where no such step has run yet. */
  secondsFor({ prefillRows, tokens }: WorkLeft): number | undefined {
    const isKnown = (tokens === 0 || this.#slowest > 0) && (prefillRows === 0 || this.#rows > 0)
    if (!isKnown) return undefined
    const prefill = prefillRows === 0 ? 0 : prefillRows * (this.#rowSeconds / this.#rows)
    return prefill + tokens * this.#slowest
  }
}
