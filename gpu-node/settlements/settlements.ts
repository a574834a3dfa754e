import type { SettlementId, TenantId } from '../../shared/ids.ts'
import {
  type Settlement,
  type SettlementsRequest,
  type SettlementsResponse,
  settlementKeepMs,
} from '../../shared/settlement.ts'
import type { EndedRequest } from '../engine/reports.ts'
import type { EngineRequest } from '../engine/sequence.ts'

/** The edge that asked has this long to acknowledge; then the settlement is offered to whichever edge listens. */
const offerAfterMs = 10_000
const mostKept = 100_000

interface KeptSettlement {
  readonly settlement: Settlement
  /** Milliseconds on the process's own clock. */
  readonly endedAt: number
  offeredAt: number | undefined
}

export interface SettlementsOptions {
  readonly mostKept?: number
  /** Monotonic milliseconds. */
  readonly now?: () => number
  /** Called with the number of settlements that were forgotten without being acknowledged. */
  readonly forgot?: (count: number) => void
}

/**
 * The settlements of finished generations, kept until an edge has acknowledged them. They are in memory and bounded: a
 * node that is killed loses those that it still kept (the edge then charges the usage that it saw). When there are too
 * many, or some are too old, the oldest are removed first.
 */
export class Settlements {
  readonly #kept = new Map<SettlementId, KeptSettlement>()
  readonly #running = new Map<SettlementId, TenantId>()
  readonly #most: number
  readonly #now: () => number
  readonly #forgot: (count: number) => void
  #isLeaving = false

  constructor({
    forgot = () => {},
    mostKept: most = mostKept,
    now = () => performance.now(),
  }: SettlementsOptions = {}) {
    this.#most = most
    this.#now = now
    this.#forgot = forgot
  }

  /** How many wait to be acknowledged. */
  get count(): number {
    return this.#kept.size
  }

  /** Expects a generation's end; call what it returns when there will be none. */
  begin({ request: { settlement }, tenant }: Pick<EngineRequest, 'request' | 'tenant'>): () => void {
    if (settlement === undefined) return () => {}
    this.#running.set(settlement.id, tenant)
    return () => this.#running.delete(settlement.id)
  }

  /** A generation is over. */
  ended({
    outcome,
    engineRequest,
    timings,
    usage,
  }: Pick<EndedRequest, 'outcome' | 'engineRequest' | 'timings' | 'usage'>): void {
    const { request, tenant } = engineRequest
    if (request.settlement === undefined) return
    const { id, terms } = request.settlement
    this.#running.delete(id)
    const settlement: Settlement = {
      id,
      requestId: request.requestId,
      tenant,
      terms,
      usage,
      outcome,
      firstTokenMs: usage.completionTokens > 0 ? timings.queueMs + timings.prefillMs : null,
      endedAt: Date.now(),
    }
    this.#kept.set(id, { settlement, endedAt: this.#now(), offeredAt: undefined })
    this.#forget()
  }

  /** Settlements that nobody has acknowledged for a while, oldest first; each is offered again after a while. */
  unacknowledged(limit: number): readonly Settlement[] {
    const now = this.#now()
    const offered: KeptSettlement[] = []
    for (const kept of this.#kept.values()) {
      if (offered.length >= limit) break
      if (!this.#isLeaving && now - (kept.offeredAt ?? kept.endedAt) < offerAfterMs) continue
      kept.offeredAt = now
      offered.push(kept)
    }
    if (this.#isLeaving) this.#postpone(offered)
    return offered.map(({ settlement }) => settlement)
  }

  /**
   * The node is about to stop: everything is offered at once, page after page, and what no edge took is offered again.
   */
  leave(): void {
    this.#isLeaving = true
  }

  /** Forgets settlements that are charged. With a tenant, only those of that tenant. */
  acknowledge(ids: readonly SettlementId[], tenant?: TenantId): void {
    for (const id of ids)
      if (tenant === undefined || this.#kept.get(id)?.settlement.tenant === tenant) this.#kept.delete(id)
  }

  /** `POST /v1/settlements` of one tenant. It shows nothing of another's settlements. */
  answer({ acknowledge, collect }: SettlementsRequest, tenant: TenantId): SettlementsResponse {
    this.acknowledge(acknowledge, tenant)
    return {
      settlements: collect.flatMap((id) => {
        const settlement = this.#kept.get(id)?.settlement
        return settlement?.tenant === tenant ? [settlement] : []
      }),
      running: collect.filter((id) => this.#running.get(id) === tenant),
    }
  }

  #postpone(offered: readonly KeptSettlement[]): void {
    for (const kept of offered) {
      this.#kept.delete(kept.settlement.id)
      this.#kept.set(kept.settlement.id, kept)
    }
  }

  #forget(): void {
    let count = 0
    for (const [id, { endedAt }] of this.#kept) {
      if (this.#kept.size <= this.#most && this.#now() - endedAt < settlementKeepMs) break
      this.#kept.delete(id)
      count += 1
    }
    if (count > 0) this.#forgot(count)
  }
}
