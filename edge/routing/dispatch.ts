import type { FleetNode } from '../fleet/nodes.ts'
import { assumedMaxBatch, chooseNode, isKnownToHold, type RouteRequest, serves } from './choose-node.ts'
import type { FailureVerdict } from './node-failures.ts'
import type { Router } from './router.ts'

/** First attempts, failovers and the hedge together. */
const maxAttempts = 4
/** A request that this many nodes went away or fell silent with is not sent to another (a "query of death"). */
const maxGone = 2
/** A hedge sooner than this costs more than it saves. */
const minHedgeMs = 100
/** A first token later than this many p95s is an outlier, not a queue. */
const hedgeAtP95Times = 1.5
/** A fleet busier than this gets no hedges. */
const hedgeBelowLoad = 0.75
/** A node whose queue is longer than its batch is no better than one that is only unheard of. */
const leaveForLoad = 2

/** Where the first of several choices went that are to share a prefill: the others go there too. */
export interface Companions {
  node?: FleetNode['id'] | undefined
}

/** One call to a node on behalf of a request. Ends once, by whichever method is called first. */
export interface Attempt {
  readonly node: FleetNode
  /** Counts from 0 within the request. */
  readonly number: number
  /** The first token is there; the attempt goes on until `ended`. */
  answered(): void
  failed(verdict: FailureVerdict): void
  /** The stream is over, or no longer needed. */
  ended(): void
}

/** The node of an attempt, and the meaning of its failure. */
export interface FailedAttempt {
  readonly node: FleetNode
  readonly verdict: FailureVerdict
}

/**
 * Decides where one request goes, attempt by attempt; makes no calls and reads no clock but the router's. Every attempt
 * goes to a node of its own.
 *
 * Some failed attempts may be repeated for free. An attempt took nothing from the fleet when its node was gone, or
 * refused it because it drains: it is repeated once, at a node in good standing, so that the death of a node loses no
 * request. A node whose cache is too small refuses an attempt before any work: it is repeated at the nodes that are
 * known to have the room, then at those that have not said how large their caches are. All other repeats, and hedges,
 * draw on the isolate's retry budget, so that failures and overload are never multiplied.
 */
export class Dispatch {
  readonly #router: Router
  readonly #request: RouteRequest
  readonly #tried = new Set<string>()
  readonly #companions: Companions
  #attempts = 0
  #gone = 0
  #freeRepeatLeft = true
  #hedged = false

  constructor(router: Router, request: RouteRequest, companions: Companions = {}) {
    this.#router = router
    this.#request = request
    this.#companions = companions
  }

  /** The first attempt; undefined when there is no node at all. */
  first(nodes: readonly FleetNode[]): Attempt | undefined {
    this.#router.retryBudget.request()
    if (this.#request.adapter !== null) this.#router.demand.asked(this.#request.adapter)
    const shared = nodes.find((node) => node.id === this.#companions.node && serves(node, this.#request))
    const chosen = shared ?? this.#choose(nodes)
    this.#companions.node = chosen?.id
    return this.#attempt(chosen)
  }

  /** A failed attempt tells of the request and of its node, also where another attempt still goes on beside it. */
  learn({ node, verdict }: FailedAttempt): void {
    if (verdict.perhapsDeadly === true) this.#gone += 1
    if (verdict.retry === 'roomier' && node.report === null)
      this.#router.refusedRows.note(node.id, this.#request.rows)
  }

  /** The attempt after one that failed, if there may be one. */
  next(nodes: readonly FleetNode[], failed: FailedAttempt): Attempt | undefined {
    const { node, verdict } = failed
    this.learn(failed)
    if (verdict.retry === 'never' || this.#attempts >= maxAttempts || this.#gone >= maxGone) return undefined
    if (verdict.retry === 'roomier') {
      const known = nodes.filter((other) => isKnownToHold(other, this.#request))
      const unknown = nodes.filter(
        ({ id, report }) => report === null && this.#router.refusedRows.mayHold(id, this.#request.rows),
      )
      return this.#attempt(this.#choose(known) ?? this.#choose(unknown))
    }
    let candidate = this.#choose(nodes)
    if (candidate === undefined && verdict.retry === 'anywhere' && this.#attempts === 1) candidate = node
    if (candidate === undefined) return undefined
    if (verdict.tookNothing && this.#freeRepeatLeft && this.#isSound(candidate)) this.#freeRepeatLeft = false
    else if (!this.#router.retryBudget.take()) return undefined
    return this.#attempt(candidate)
  }

  /** Whether a failed attempt could be repeated at a node in good standing that would soon run it. */
  hasAnother(nodes: readonly FleetNode[]): boolean {
    if (this.#attempts >= maxAttempts || this.#gone + 1 >= maxGone) return false
    const candidate = this.#choose(nodes)
    return candidate !== undefined && this.#isSound(candidate) && this.#loadOf(candidate) < leaveForLoad
  }

  /** How long to wait for a first token before a second node is asked as well; undefined for never. */
  get hedgeAfterMs(): number | undefined {
    const p95 = this.#router.firstTokenTimes.p95(this.#request.promptTokens)
    return p95 === undefined ? undefined : Math.max(minHedgeMs, hedgeAtP95Times * p95)
  }

  /**
   * The one hedge, when the fleet has room and half of the retry budget is left. Where a node stalls, hedges bring the
   * p99 of first tokens to a quarter, for 1.4 % more calls (`npm run bench -- fleet`).
   */
  hedge(nodes: readonly FleetNode[]): Attempt | undefined {
    const { retryBudget } = this.#router
    if (this.#hedged || this.#attempts >= maxAttempts || !retryBudget.isAmple) return undefined
    const candidate = this.#choose(nodes)
    if (candidate === undefined || !this.#isSound(candidate)) return undefined
    if (this.#fleetLoad(nodes) >= hedgeBelowLoad || this.#loadOf(candidate) >= hedgeBelowLoad)
      return undefined
    if (!retryBudget.take()) return undefined
    this.#hedged = true
    return this.#attempt(candidate)
  }

  #choose(nodes: readonly FleetNode[]): FleetNode | undefined {
    const untried = nodes.filter(({ id }) => !this.#tried.has(id))
    return chooseNode(this.#request, this.#router.view(untried))
  }

  #isSound(node: FleetNode): boolean {
    return this.#router.breakers.state(node) === 'closed' && node.isLost !== true
  }

  #loadOf(node: FleetNode): number {
    return this.#router.load(node) / (node.report?.maxBatch ?? assumedMaxBatch)
  }

  #fleetLoad(nodes: readonly FleetNode[]): number {
    const serving = nodes.filter((node) => serves(node, this.#request) && node.isLost !== true)
    const load = serving.reduce((sum, node) => sum + this.#router.load(node), 0)
    const maxBatch = serving.reduce((sum, { report }) => sum + (report?.maxBatch ?? assumedMaxBatch), 0)
    return load / Math.max(1, maxBatch)
  }

  #attempt(node: FleetNode | undefined): Attempt | undefined {
    if (node === undefined) return undefined
    const { breakers, firstTokenTimes, inFlight, now } = this.#router
    const { promptTokens } = this.#request
    const startedAt = now()
    let state: 'waiting' | 'answered' | 'over' = 'waiting'
    const end = () => {
      state = 'over'
      inFlight.ended(node.id)
    }
    this.#tried.add(node.id)
    breakers.began(node)
    inFlight.began(node.id)
    return {
      node,
      number: this.#attempts++,
      answered() {
        if (state !== 'waiting') return
        state = 'answered'
        breakers.succeeded(node)
        firstTokenTimes.observed(promptTokens, now() - startedAt)
      },
      failed({ avoid }) {
        if (state === 'over') return
        if (avoid) breakers.failed(node)
        else breakers.inconclusive(node)
        end()
      },
      ended() {
        if (state === 'over') return
        if (state === 'waiting') breakers.inconclusive(node)
        end()
      },
    }
  }
}
