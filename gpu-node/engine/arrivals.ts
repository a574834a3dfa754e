/** How long one step may wait for requests at the door, and how long one request may make steps wait in all. */
const waitMs = 3
const patienceMs = 50

/**
 * Requests that are being read and verified, before they reach the queue.
 *
 * The loop turns between steps until those at the door are through, for at most a few milliseconds, as each would else wait
 * for a whole step. A backend that computes on this thread gives the loop no turn during a step, so it has one in any case.
 */
export class Arrivals {
  readonly #since = new Set<{ readonly at: number }>()
  #hasTurned = false

  /** Call when work on a request begins; call what it returns when the request is queued or refused. */
  enter(): () => void {
    const arrival = { at: performance.now() }
    this.#since.add(arrival)
    return () => this.#since.delete(arrival)
  }

  /** Lets writes out and requests in. The loop needs no turn where it had one since the last call, and nobody is at the door. */
  async settle(): Promise<void> {
    const start = performance.now()
    if (!this.#hasTurned || this.#pending()) {
      do await turn()
      while (this.#pending() && performance.now() - start < waitMs)
    }
    this.#hasTurned = false
    setImmediate(() => {
      this.#hasTurned = true
    })
  }

  #pending(): boolean {
    const now = performance.now()
    for (const { at } of this.#since) if (now - at < patienceMs) return true
    return false
  }
}

function turn(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve))
}
