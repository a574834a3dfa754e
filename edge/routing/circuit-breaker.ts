import type { FleetNode } from '../fleet/nodes.ts'

const firstOpenMs = 1_000
const maxOpenMs = 15_000

/** `closed`: in good standing. `half-open`: rested; one request may try it. `open`: asked only when nobody else is left. */
export type CircuitState = 'closed' | 'half-open' | 'open'

interface Trip {
  readonly instanceId: string | null
  readonly failures: number
  readonly until: number
  readonly probing: boolean
}

type BreakerNode = Pick<FleetNode, 'id' | 'report'>

/**
 * The failures of each node that this isolate saw (circuit breaker; Nygard, Release It!, 2007). A failure opens a
 * node's circuit for a second, doubled with each failed probe up to 15 s; then one request at a time probes it, and its
 * success closes it. A new process in the node's place starts closed.
 */
export class CircuitBreakers {
  readonly #now: () => number
  readonly #trips = new Map<string, Trip>()

  constructor(now: () => number) {
    this.#now = now
  }

  state(node: BreakerNode): CircuitState {
    const trip = this.#trip(node)
    if (trip === undefined) return 'closed'
    return trip.until > this.#now() || trip.probing ? 'open' : 'half-open'
  }

  /** A request goes to the node; it is the probe when the circuit is half-open. */
  began(node: BreakerNode): void {
    const trip = this.#trip(node)
    if (trip !== undefined && this.state(node) === 'half-open')
      this.#trips.set(node.id, { ...trip, probing: true })
  }

  succeeded(node: BreakerNode): void {
    this.#trips.delete(node.id)
  }

  /** Many requests that fail with one death of a node count once. */
  failed(node: BreakerNode): void {
    const trip = this.#trip(node)
    if (trip !== undefined && trip.until > this.#now()) return
    const failures = (trip?.failures ?? 0) + 1
    const openMs = Math.min(maxOpenMs, firstOpenMs * 2 ** Math.min(failures - 1, 10))
    const instanceId = node.report?.instanceId ?? null
    this.#trips.set(node.id, { instanceId, failures, until: this.#now() + openMs, probing: false })
  }

  /** The request ended without showing how the node does. */
  inconclusive(node: BreakerNode): void {
    const trip = this.#trips.get(node.id)
    if (trip?.probing === true) this.#trips.set(node.id, { ...trip, probing: false })
  }

  #trip({ id, report }: BreakerNode): Trip | undefined {
    const trip = this.#trips.get(id)
    if (trip === undefined || trip.instanceId === (report?.instanceId ?? null)) return trip
    this.#trips.delete(id)
    return undefined
  }
}
