import { setImmediate as nextTurn } from 'node:timers/promises'

/**
 * Long work in pieces: the event loop, which answers the network, gets a turn between any two of them that are long
 * together, unless it had one meanwhile.
 */
export class Turns {
  readonly #most: number
  #sinceLast = 0

  /** `most` is how much may be done between two turns, in the unit that the work is counted in. */
  constructor(most: number) {
    this.#most = most
  }

  /** Resolves when a piece of that much work may begin. */
  async before(work: number): Promise<void> {
    if (this.#sinceLast > 0 && this.#sinceLast + work > this.#most) {
      await nextTurn()
      this.#sinceLast = 0
    }
    if (this.#sinceLast === 0)
      setImmediate(() => {
        this.#sinceLast = 0
      })
    this.#sinceLast += work
  }
}
