/** How long one step may wait for requests at the door, and how long one request may make steps wait in all. */
const waitMs = 3
const patienceMs = 50

/**
 * Requests that are being read and verified, before they reach the queue.
 *
 * A backend may compute on this thread, and verifying a request takes several turns of the
 * event loop. With one turn per step each of them would cost a whole step; so between steps the loop turns until
 * those at the door are through, for at most a few milliseconds.
 */
export class Arrivals {
  readonly #since = new Set<{ readonly at: number }>()

  /** Call when work on a request begins; call what it returns when the request is queued or refused. */
  enter(): () => void {
    const arrival = { at: performance.now() }
    this.#since.add(arrival)
    return () => this.#since.delete(arrival)
  }

  /** Lets writes out and requests in. */
  async settle(): Promise<void> {
    const start = performance.now()
    do await turn()
    while (this.#pending() && performance.now() - start < waitMs)
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
