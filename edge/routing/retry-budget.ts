const earnedPerRequest = 0.1
const capacity = 10

/** Retries and hedges are paid from what requests earn, a tenth each, so that they never multiply an outage. */
export class RetryBudget {
  #tokens = capacity

  request(): void {
    this.#tokens = Math.min(capacity, this.#tokens + earnedPerRequest)
  }

  /** Takes one retry if there is one. */
  take(): boolean {
    if (this.#tokens < 1) return false
    this.#tokens -= 1
    return true
  }

  /** Whether half of the reserve is left: for what is a convenience, like a hedge. */
  get isAmple(): boolean {
    return this.#tokens >= capacity / 2
  }
}
