/** How a value is fetched, and who keeps a fetch alive that outlasts the request that began it. */
export interface Source<V> {
  readonly load: () => Promise<V | undefined>
  readonly background: (work: Promise<unknown>) => void
}

interface Entry<V> {
  readonly value: V
  readonly weight: number
  readonly loadedAt: number
  refreshing: boolean
}

/**
 * A bounded cache of values that may be at most `maxMs` old, or `failingMs` while they cannot be loaded. A value older
 * than half of `maxMs` is served and renewed in the background, so that a busy key never waits. Absence is not cached.
 * A full cache drops the values that were read longest ago, and keeps no value that weighs more than all may weigh
 * together. Loads are not shared between requests: a Worker's I/O belongs to the request that began it, and one that is
 * cancelled would leave the others waiting.
 */
export class RefreshingCache<V> {
  readonly #entries = new Map<string, Entry<V>>()
  readonly #capacity: number
  readonly #maxMs: number
  readonly #failingMs: number
  readonly #weigh: (value: V) => number
  /** The weight of all entries. */
  #weight = 0

  /** `capacity` bounds the weight of all values together; by default each weighs one. */
  constructor({
    capacity,
    maxMs,
    failingMs = maxMs,
    weigh = () => 1,
  }: {
    capacity: number
    maxMs: number
    failingMs?: number
    weigh?: (value: V) => number
  }) {
    this.#capacity = capacity
    this.#maxMs = maxMs
    this.#failingMs = failingMs
    this.#weigh = weigh
  }

  async get(key: string, source: Source<V>): Promise<V | undefined> {
    const entry = this.#entries.get(key)
    const age = entry === undefined ? Number.POSITIVE_INFINITY : Date.now() - entry.loadedAt
    if (entry === undefined || age >= this.#failingMs) return this.reload(key, source)
    if (age >= this.#maxMs) return this.reload(key, source).catch(() => entry.value)
    if (age >= this.#maxMs / 2 && !entry.refreshing) {
      entry.refreshing = true
      source.background(
        this.reload(key, source).catch(() => {
          entry.refreshing = false
        }),
      )
    }
    return entry.value
  }

  has(key: string): boolean {
    return this.#entries.has(key)
  }

  /** The value as remembered, however old. */
  peek(key: string): V | undefined {
    return this.#entries.get(key)?.value
  }

  delete(key: string): void {
    this.#weight -= this.#entries.get(key)?.weight ?? 0
    this.#entries.delete(key)
  }

  clear(): void {
    this.#entries.clear()
    this.#weight = 0
  }

  /** Reads the value anew, past the cache. */
  async reload(key: string, source: Pick<Source<V>, 'load'>): Promise<V | undefined> {
    const loadedAt = Date.now()
    const value = await source.load()
    this.delete(key)
    if (value !== undefined)
      this.#keep(key, { value, weight: this.#weigh(value), loadedAt, refreshing: false })
    return value
  }

  #keep(key: string, entry: Entry<V>): void {
    if (entry.weight > this.#capacity) return
    this.#entries.set(key, entry)
    this.#weight += entry.weight
    for (const oldest of this.#entries.keys()) {
      if (this.#weight <= this.#capacity) return
      this.delete(oldest)
    }
  }
}
