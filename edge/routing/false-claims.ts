import type { AdapterKey } from '../../shared/ids.ts'

/** A claim can be out of date by the age of a snapshot, so that one that fails is no lie. */
const tolerated = 2
const windowMs = 10_000
const ignoredMs = 30_000
/** Claims that are remembered; the oldest go first. */
const maxRecords = 4_096

interface Record {
  readonly since: number
  readonly count: number
  readonly ignoredUntil: number
}

/**
 * Claims of nodes that proved false: a node said that it holds a tenant's adapter and then asked for it. That claim is
 * ignored for a while, and no other: one tenant's false claims change nothing for the adapters of another.
 */
export class FalseClaims {
  readonly #now: () => number
  readonly #records = new Map<string, Record>()

  constructor(now: () => number) {
    this.#now = now
  }

  note(nodeId: string, adapter: AdapterKey): void {
    const claim = `${nodeId}/${adapter}`
    const now = this.#now()
    const last = this.#records.get(claim)
    const current = last !== undefined && now - last.since < windowMs ? last : undefined
    const count = (current?.count ?? 0) + 1
    this.#records.delete(claim)
    this.#records.set(claim, {
      since: current?.since ?? now,
      count,
      ignoredUntil: count > tolerated ? now + ignoredMs : (last?.ignoredUntil ?? 0),
    })
    const [oldest] = this.#records.size > maxRecords ? this.#records.keys() : []
    if (oldest !== undefined) this.#records.delete(oldest)
  }

  believes(nodeId: string, adapter: AdapterKey): boolean {
    return (this.#records.get(`${nodeId}/${adapter}`)?.ignoredUntil ?? 0) <= this.#now()
  }
}
