const windowMs = 10_000

/** Ten seconds of the measured time. */
export interface Window {
  /** Seconds since measuring began. */
  readonly second: number
  readonly hitRate: number
  /** p99 over mean of the nodes' loads. */
  readonly imbalance: number
}

export interface RoutingOutcome {
  readonly requests: number
  readonly hitRate: number
  readonly imbalance: number
  /** Requests that ended without a first token. */
  readonly lost: number
  /** Streams that broke with their node, after the first token. */
  readonly broken: number
  readonly retries: number
  readonly hedges: number
  readonly firstTokenMs: { readonly p50: number; readonly p99: number }
  readonly windows: readonly Window[]
}

/** Counts what happens once measuring has begun. */
export class Measure {
  readonly #from: number
  readonly #now: () => number
  #requests = 0
  #lost = 0
  #broken = 0
  #retries = 0
  #hedges = 0
  readonly #firstTokens: number[] = []
  readonly #loads: number[] = []
  readonly #windows: { hits: number; placed: number; loads: number[] }[] = []

  constructor(from: number, now: () => number) {
    this.#from = from
    this.#now = now
  }

  get #measuring(): boolean {
    return this.#now() >= this.#from
  }

  arrived(): void {
    if (this.#measuring) this.#requests += 1
  }

  lost(): void {
    if (this.#measuring) this.#lost += 1
  }

  broke(): void {
    if (this.#measuring) this.#broken += 1
  }

  retried(): void {
    if (this.#measuring) this.#retries += 1
  }

  hedged(): void {
    if (this.#measuring) this.#hedges += 1
  }

  answered(ms: number): void {
    if (this.#measuring) this.#firstTokens.push(ms)
  }

  placed(hit: boolean): void {
    const window = this.#window()
    if (window === undefined) return
    window.placed += 1
    if (hit) window.hits += 1
  }

  sampled(loads: readonly number[]): void {
    const window = this.#window()
    if (window === undefined) return
    for (const load of loads) {
      window.loads.push(load)
      this.#loads.push(load)
    }
  }

  #window() {
    if (!this.#measuring) return undefined
    const at = Math.floor((this.#now() - this.#from) / windowMs)
    let window = this.#windows[at]
    if (window === undefined) {
      window = { hits: 0, placed: 0, loads: [] }
      this.#windows[at] = window
    }
    return window
  }

  outcome(): RoutingOutcome {
    const full = this.#windows.filter(({ placed }) => placed > 0)
    const hits = full.reduce((sum, window) => sum + window.hits, 0)
    const placed = full.reduce((sum, window) => sum + window.placed, 0)
    const firstTokens = Float64Array.from(this.#firstTokens).sort()
    return {
      requests: this.#requests,
      hitRate: hits / placed,
      imbalance: imbalanceOf(this.#loads),
      lost: this.#lost,
      broken: this.#broken,
      retries: this.#retries,
      hedges: this.#hedges,
      firstTokenMs: { p50: quantileOf(firstTokens, 0.5), p99: quantileOf(firstTokens, 0.99) },
      windows: full.map((window, at) => ({
        second: (at * windowMs) / 1000,
        hitRate: window.hits / window.placed,
        imbalance: imbalanceOf(window.loads),
      })),
    }
  }
}

function imbalanceOf(loads: readonly number[]): number {
  const mean = loads.reduce((sum, load) => sum + load, 0) / loads.length
  return quantileOf(Float64Array.from(loads).sort(), 0.99) / mean
}

const quantileOf = (sorted: Float64Array, q: number): number =>
  sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * q))] ?? Number.NaN
