import { QuartetError } from '../../shared/errors.ts'
import type { TenantId } from '../../shared/ids.ts'

export interface QueueLimits {
  /** Requests waiting in all. */
  readonly total: number
  /** Requests of one tenant waiting. */
  readonly perTenant: number
}

/** An entry of the queue, with the tenant that it belongs to. */
export interface Waiting {
  readonly tenant: TenantId
  /** Waits behind all that is not. */
  readonly isLowPriority?: boolean
  /** Goes before those of its tenant that have a larger number; 0 when absent. */
  readonly ownPriority?: number
}

interface Share<T> {
  /** Service received, in rows of prompts and weighted tokens, on the clock of `#virtualTime`. */
  served: number
  readonly waiting: T[]
  /** Entries of low priority. */
  readonly low: T[]
}

/**
 * Requests that wait for a place, in the order of admission: the tenant that has received the least service goes first,
 * and within a tenant the oldest request of those with the lowest `ownPriority`. Service is counted in the rows that
 * were worked on (prompt rows of adapters included) and the tokens that were generated, as in the virtual token counter
 * of Sheng et al., "Fairness in Serving Large Language Models" (OSDI 2024); a tenant that comes back from idleness
 * starts level with those being served, without credit for the time away. Requests of low priority go in the same
 * order, when no other waits, and may take half of the places to wait.
 */
export class Queue<T extends Waiting> {
  readonly #limits: QueueLimits
  readonly #shares = new Map<TenantId, Share<T>>()
  #virtualTime = 0
  #length = 0
  #lowLength = 0

  constructor(limits: QueueLimits) {
    this.#limits = limits
  }

  get length(): number {
    return this.#length
  }

  /**
   * Throws `queue_full`. `nextAfterSeconds` says when the next one begins at the latest. That is when the tenant has
   * room again, except where a share is full and others wait as well, be it the tenant's or that of low priority: then
   * it is unknown whose turn is next.
   */
  push(item: T, nextAfterSeconds: () => number | undefined): void {
    const known = this.#shares.get(item.tenant)
    const ofTenant = known === undefined ? 0 : known.waiting.length + known.low.length
    const isLowFull = item.isLowPriority === true && this.#lowLength >= this.#limits.total / 2
    const roomAfterSeconds = () =>
      isLowFull && this.#lowLength < this.#length ? undefined : nextAfterSeconds()
    if (ofTenant >= this.#limits.perTenant)
      throw new QuartetError(
        'queue_full',
        `${ofTenant} of your requests already wait at this node, the most it allows; retry later`,
        { retryAfterSeconds: ofTenant === this.#length ? roomAfterSeconds() : undefined },
      )
    if (this.#length >= this.#limits.total)
      throw new QuartetError(
        'queue_full',
        `the node already has ${this.#length} requests waiting; retry later`,
        { retryAfterSeconds: roomAfterSeconds() },
      )
    if (isLowFull)
      throw new QuartetError(
        'queue_full',
        `the node already has ${this.#lowLength} requests of low priority waiting; retry later`,
        { retryAfterSeconds: roomAfterSeconds() },
      )
    const share = this.#share(item.tenant)
    if (share.waiting.length + share.low.length === 0)
      share.served = Math.max(share.served, this.#virtualTime)
    if (item.isLowPriority === true) {
      insert(share.low, item)
      this.#lowLength++
    } else insert(share.waiting, item)
    this.#length++
  }

  /** The request to admit next. */
  peek(): T | undefined {
    const share = this.#next()
    return share?.waiting[0] ?? share?.low[0]
  }

  /** Takes what `peek` shows. */
  shift(): T | undefined {
    const share = this.#next()
    if (share === undefined) return undefined
    if (share.waiting.length === 0) this.#lowLength--
    const item = share.waiting.shift() ?? share.low.shift()
    this.#virtualTime = Math.max(this.#virtualTime, share.served)
    this.#length--
    for (const [tenant, { low, served, waiting }] of this.#shares)
      if (waiting.length + low.length === 0 && served <= this.#virtualTime) this.#shares.delete(tenant)
    return item
  }

  /** Takes a request out of turn; does nothing when it no longer waits. */
  remove(item: T): void {
    const share = this.#shares.get(item.tenant)
    const isLow = item.isLowPriority === true
    const waiting = isLow ? share?.low : share?.waiting
    const at = waiting?.indexOf(item) ?? -1
    if (at === -1) return
    waiting?.splice(at, 1)
    this.#length--
    if (isLow) this.#lowLength--
  }

  /** Counts service that a tenant received. */
  charge(tenant: TenantId, service: number): void {
    this.#share(tenant).served += service
  }

  /** No request waits and none runs: all tenants count the same service again. */
  settle(): void {
    if (this.#length > 0) return
    this.#shares.clear()
    this.#virtualTime = 0
  }

  *[Symbol.iterator](): IterableIterator<T> {
    for (const { low, waiting } of this.#shares.values()) {
      yield* waiting
      yield* low
    }
  }

  #share(tenant: TenantId): Share<T> {
    let share = this.#shares.get(tenant)
    if (share === undefined) {
      share = { served: this.#virtualTime, waiting: [], low: [] }
      this.#shares.set(tenant, share)
    }
    return share
  }

  #next(): Share<T> | undefined {
    const least = (has: (share: Share<T>) => boolean) => {
      let least: Share<T> | undefined
      for (const share of this.#shares.values())
        if (has(share) && (least === undefined || share.served < least.served)) least = share
      return least
    }
    return this.#lowLength === this.#length
      ? least(({ low }) => low.length > 0)
      : least(({ waiting }) => waiting.length > 0)
  }
}

/** Puts an entry behind all that go before it. */
function insert<T extends Waiting>(waiting: T[], item: T): void {
  const own = item.ownPriority ?? 0
  const before = waiting.findLastIndex(({ ownPriority = 0 }) => ownPriority <= own)
  waiting.splice(before + 1, 0, item)
}
