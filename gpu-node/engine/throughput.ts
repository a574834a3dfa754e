const memorySeconds = 10
const longestSeconds = 60

/** How fast the engine works tokens off, as a moving average over about ten seconds of work. */
export class Throughput {
  #tokens = 0
  #seconds = 0

  record({ tokens, seconds }: { tokens: number; seconds: number }): void {
    const keep = Math.exp(-seconds / memorySeconds)
    this.#tokens = this.#tokens * keep + tokens
    this.#seconds = this.#seconds * keep + seconds
  }

  /** Whole seconds after which half of `backlog` tokens should be worked off: a retry then finds room. 1 to 60. */
  retryAfterSeconds(backlog: number): number {
    if (this.#tokens === 0) return 1
    const seconds = (backlog / 2) * (this.#seconds / this.#tokens)
    return Math.min(longestSeconds, Math.max(1, Math.ceil(seconds)))
  }
}
