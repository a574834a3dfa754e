/** A claim can be out of date by the age of a snapshot, so that one that fails is no lie. */
const tolerated = 2
const windowMs = 10_000
const ignoredMs = 30_000

interface Record {
  readonly since: number
  readonly count: number
  readonly ignoredUntil: number
}

/** Nodes that said they hold an adapter and then asked for it: what they claim is ignored for a while. */
export class FalseClaims {
  readonly #now: () => number
  readonly #records = new Map<string, Record>()

  constructor(now: () => number) {
    this.#now = now
  }

  note(nodeId: string): void {
    const now = this.#now()
    const last = this.#records.get(nodeId)
    const current = last !== undefined && now - last.since < windowMs ? last : undefined
    const count = (current?.count ?? 0) + 1
    this.#records.set(nodeId, {
      since: current?.since ?? now,
      count,
      ignoredUntil: count > tolerated ? now + ignoredMs : (last?.ignoredUntil ?? 0),
    })
  }

  believes(nodeId: string): boolean {
    return (this.#records.get(nodeId)?.ignoredUntil ?? 0) <= this.#now()
  }
}
