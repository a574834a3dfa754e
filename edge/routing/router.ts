import type { FleetNode } from '../fleet/nodes.ts'
import { isKnownToHold, type RouteView } from './choose-node.ts'
import { CircuitBreakers } from './circuit-breaker.ts'
import { Demand } from './demand.ts'
import { FalseClaims } from './false-claims.ts'
import { FirstTokenTimes } from './first-token-times.ts'
import { InFlight } from './in-flight.ts'
import { RefusedRows } from './refused-rows.ts'
import { RetryBudget } from './retry-budget.ts'

export interface RouterOptions {
  /** Milliseconds since 1970. */
  readonly now?: () => number
  /** Draws a number in [0, 1). */
  readonly random?: () => number
}

/**
 * Other isolates route alike. They have probably begun as many calls as this isolate since a node's report. Counting
 * this isolate's calls this many times steadies the loads of a simulated fleet (`npm run bench -- fleet`); a larger
 * number reacts to chance.
 */
const othersAlike = 2

/** One isolate's memory of its own calls to nodes; every decision about the next call starts from it. */
export class Router {
  readonly now: () => number
  readonly random: () => number
  readonly breakers: CircuitBreakers
  readonly demand: Demand
  readonly falseClaims: FalseClaims
  readonly firstTokenTimes = new FirstTokenTimes()
  readonly inFlight: InFlight
  readonly refusedRows: RefusedRows
  readonly retryBudget = new RetryBudget()

  constructor({ now = Date.now, random = Math.random }: RouterOptions = {}) {
    this.now = now
    this.random = random
    this.breakers = new CircuitBreakers(now)
    this.demand = new Demand(now)
    this.falseClaims = new FalseClaims(now)
    this.inFlight = new InFlight(now)
    this.refusedRows = new RefusedRows(now)
  }

  view(nodes: readonly FleetNode[]): RouteView {
    return {
      nodes,
      load: (node) => this.load(node),
      circuit: (node) => this.breakers.state(node),
      believes: ({ id }, adapter) => this.falseClaims.believes(id, adapter),
      mayHold: (node, rows) =>
        isKnownToHold(node, { rows }) || (node.report === null && this.refusedRows.mayHold(node.id, rows)),
      demand: (adapter) => this.demand.share(adapter),
      random: this.random,
    }
  }

  /** Requests at a node: as it reported, and what this isolate began and saw end since. */
  load({ id, report }: FleetNode): number {
    const own = this.inFlight.count(id)
    if (report === null) return own
    const since = own - this.inFlight.countAt(id, report.reportedAt)
    return Math.max(own, report.running + report.waiting + othersAlike * since)
  }
}
