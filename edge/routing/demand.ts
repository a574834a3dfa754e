/** Counts decay to 1/e in this time: long enough to tell a hot adapter from chance, short enough to follow the day. */
const memoryMs = 60_000
/** More adapters than this are not told apart; the least asked for are dropped. */
const maxTracked = 20_000

interface Count {
  readonly value: number
  readonly at: number
}

/** Measures the share of this isolate's recent requests that asked for each adapter. */
export class Demand {
  readonly #now: () => number
  readonly #counts = new Map<string, Count>()
  #total: Count = { value: 0, at: 0 }

  constructor(now: () => number) {
    this.#now = now
  }

  asked(adapter: string): void {
    const at = this.#now()
    this.#counts.set(adapter, { value: this.#decayed(this.#counts.get(adapter)) + 1, at })
    this.#total = { value: this.#decayed(this.#total) + 1, at }
    if (this.#counts.size > maxTracked) this.#forget()
  }

  /** 0 to 1; less than it seems by one standard deviation, so that chance makes no adapter hot. */
  share(adapter: string): number {
    const total = this.#decayed(this.#total)
    const count = this.#decayed(this.#counts.get(adapter))
    return total < 1 ? 0 : Math.max(0, count - Math.sqrt(count)) / total
  }

  #decayed(count: Count | undefined): number {
    return count === undefined ? 0 : count.value * Math.exp((count.at - this.#now()) / memoryMs)
  }

  #forget(): void {
    for (const [adapter, count] of this.#counts) if (this.#decayed(count) < 0.5) this.#counts.delete(adapter)
    for (const adapter of this.#counts.keys()) {
      if (this.#counts.size <= maxTracked / 2) break
      this.#counts.delete(adapter)
    }
  }
}
