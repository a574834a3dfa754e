const firstMs = 1_000
const longestMs = 60_000

/** When something that fails is tried again: after a second, doubled up to a minute. */
export class BackOff {
  #failures = 0
  #until = 0

  get isResting(): boolean {
    return Date.now() < this.#until
  }

  /** Whether this is the first failure in a row. */
  failed(): boolean {
    this.#until = Date.now() + Math.min(longestMs, firstMs * 2 ** this.#failures)
    this.#failures += 1
    return this.#failures === 1
  }

  /** Whether it failed before. */
  succeeded(): boolean {
    const failed = this.#failures > 0
    this.#failures = 0
    return failed
  }
}
