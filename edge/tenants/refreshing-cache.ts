/** How a value is fetched, and who keeps a fetch alive that outlasts the request that began it. */
export interface Source<V> {
  readonly load: () => Promise<V | undefined>
  readonly background: (work: Promise<unknown>) => void
}

interface Entry<V> {
  readonly value: V
  readonly loadedAt: number
  refreshing: boolean
}

/**
 * A bounded cache of values that may be at most `maxMs` old. A value older than half of that is served and
 * renewed behind the request, so that a busy key never waits. Absence is not cached. Least recently used goes
 * first. Loads are not shared between requests: a Worker's I/O belongs to the request that began it, and one
 * that is cancelled would leave the others waiting.
 */
export class RefreshingCache<V> {
  readonly #entries = new Map<string, Entry<V>>()
  readonly #capacity: number
  readonly #maxMs: number

  constructor({ capacity, maxMs }: { capacity: number; maxMs: number }) {
    this.#capacity = capacity
    this.#maxMs = maxMs
  }

  async get(key: string, source: Source<V>): Promise<V | undefined> {
    const entry = this.#entries.get(key)
    const age = entry === undefined ? Number.POSITIVE_INFINITY : Date.now() - entry.loadedAt
    if (entry === undefined || age >= this.#maxMs) return this.reload(key, source)
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
    this.#entries.delete(key)
  }

  clear(): void {
    this.#entries.clear()
  }

  /** The value as it is now, whatever is remembered. */
  async reload(key: string, source: Pick<Source<V>, 'load'>): Promise<V | undefined> {
    const loadedAt = Date.now()
    const value = await source.load()
    this.#entries.delete(key)
    if (value !== undefined) {
      this.#entries.set(key, { value, loadedAt, refreshing: false })
      const oldest = this.#entries.size > this.#capacity ? this.#entries.keys().next().value : undefined
      if (oldest !== undefined) this.#entries.delete(oldest)
    }
    return value
  }
}
