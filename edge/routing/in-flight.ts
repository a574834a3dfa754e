/** Longer than a node's report is old when it is used. */
const historyMs = 6_000
/** Changes closer together than this are one, so that the history stays short on a busy isolate. */
const resolutionMs = 50

interface Count {
  readonly since: number
  readonly value: number
}

/**
 * This isolate's own requests at each node, now and a few seconds back: a node's report holds those of its own time,
 * and what began or ended since is known here.
 */
export class InFlight {
  readonly #now: () => number
  /** Changes, oldest first; the last one holds now. */
  readonly #counts = new Map<string, Count[]>()

  constructor(now: () => number) {
    this.#now = now
  }

  began(nodeId: string): void {
    this.#change(nodeId, 1)
  }

  ended(nodeId: string): void {
    this.#change(nodeId, -1)
  }

  /** Requests at the node now. */
  count(nodeId: string): number {
    return this.#counts.get(nodeId)?.at(-1)?.value ?? 0
  }

  /** Requests at the node at a time in the last seconds. */
  countAt(nodeId: string, time: number): number {
    return this.#counts.get(nodeId)?.findLast(({ since }) => since <= time)?.value ?? 0
  }

  #change(nodeId: string, by: 1 | -1): void {
    const now = this.#now()
    const counts = this.#counts.get(nodeId) ?? []
    const value = (counts.at(-1)?.value ?? 0) + by
    const old = counts.findLastIndex(({ since }) => since < now - historyMs)
    if (old > 0) counts.splice(0, old)
    if (value === 0 && counts.every((count) => count.since < now - historyMs)) {
      this.#counts.delete(nodeId)
      return
    }
    const last = counts.at(-1)
    const joins = last !== undefined && now - last.since < resolutionMs
    if (joins) counts.pop()
    counts.push({ since: joins ? last.since : now, value })
    this.#counts.set(nodeId, counts)
  }
}
