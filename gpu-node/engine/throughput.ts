const memorySeconds = 10
const longestSeconds = 60

/** How fast the engine works tokens off, as a moving average over about ten seconds of work. */
export class Throughput {
  #rows = 0
  #seconds = 0

  /** Rows of prompts and generated tokens that were worked off in so many seconds. */
  record({ rows, seconds }: { rows: number; seconds: number }): void {
    const keep = Math.exp(-seconds / memorySeconds)
    this.#rows = this.#rows * keep + rows
    this.#seconds = this.#seconds * keep + seconds
  }

  /** Whole seconds after which half of `backlog` rows should be worked off: a retry then finds room. 1 to 60. */
  retryAfterSeconds(backlog: number): number {
    if (this.#rows === 0) return 1
    const seconds = (backlog / 2) * (this.#seconds / this.#rows)
    return Math.min(longestSeconds, Math.max(1, Math.ceil(seconds)))
  }
}
