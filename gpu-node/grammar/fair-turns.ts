/**
 * Work that is done one at a time. Tenants with waiting work take turns, so that no tenant keeps all others waiting.
 */
export class FairTurns {
  readonly #waiting = new Map<string, (() => void)[]>()
  #isTaken = false

  /** Does `work` when its owner's turn comes. */
  async take<T>(owner: string, work: () => Promise<T>): Promise<T> {
    await this.#turn(owner)
    try {
      return await work()
    } finally {
      this.#next()
    }
  }

  #turn(owner: string): Promise<void> {
    if (!this.#isTaken) {
      this.#isTaken = true
      return Promise.resolve()
    }
    return new Promise((resolve) => {
      const own = this.#waiting.get(owner) ?? []
      own.push(resolve)
      this.#waiting.set(owner, own)
    })
  }

  #next(): void {
    for (const [owner, own] of this.#waiting) {
      const begin = own.shift()
      // Behind all others.
      this.#waiting.delete(owner)
      if (own.length > 0) this.#waiting.set(owner, own)
      if (begin === undefined) continue
      begin()
      return
    }
    this.#isTaken = false
  }
}
