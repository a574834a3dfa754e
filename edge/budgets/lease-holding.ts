import type { Exchange, Grant, LeaseRequest, Returned, ReturnedAllowance } from './exchange.ts'
import { Lease, type LeaseRest, type Reserved } from './lease.ts'

/** A lease is given up after this long, so that the tokens an isolate lost count of return with its expiry. */
const leaseLifeMs = 120_000

export interface LeaseHoldingOptions {
  readonly now: () => number
  readonly newId: () => string
}

/**
 * The part of a tenant's budget that an isolate holds: the lease in use, the one that takes its place, and what is to
 * go back to the budget's owner with the next exchange.
 */
export class LeaseHolding {
  readonly #options: LeaseHoldingOptions
  #lease: Lease
  /** The lease to change to when it is granted. */
  #next: Lease | undefined
  readonly #returned = new Map<string, { tokens: number; slots: number }>()
  #allowance: ReturnedAllowance | null = null

  constructor(options: LeaseHoldingOptions) {
    this.#options = options
    this.#lease = this.#newLease()
  }

  /** The lease has nothing that someone else may be waiting for. */
  get isEmpty(): boolean {
    return this.#lease.isEmpty
  }

  /** Whether the owner waits for tokens or slots of this lease. */
  get owes(): boolean {
    return this.#returned.size > 0
  }

  /** Whether there is anything to give back. */
  get hasReturns(): boolean {
    return this.owes || this.#allowance !== null
  }

  /** Whether to ask for more in the background. */
  get isLow(): boolean {
    return this.#lease.isLow(this.#options.now())
  }

  get left(): LeaseRest {
    return this.#lease.left(this.#options.now())
  }

  has(need: number): boolean {
    return this.#lease.has(need, this.#options.now())
  }

  take(need: number): Reserved | undefined {
    return this.#lease.take(need, this.#options.now())
  }

  /** Takes back what a request did not use. */
  giveBack({ lease, minute }: Reserved, { allowance, slots }: { slots: number; allowance: number }): void {
    if (allowance > 0) this.#lease.allow(minute, allowance)
    if (slots === 0) return
    if (lease === this.#lease.id) this.#lease.giveBack(slots)
    else this.#return({ returned: { lease, slots, tokens: 0 } })
  }

  /** All of the lease goes back to the owner. */
  drain(): void {
    if (!this.#lease.isEmpty) this.#return(this.#lease.drain())
  }

  /** Takes what is to go back, for the next exchange. */
  takeReturns(): Pick<Exchange, 'returned' | 'allowance'> {
    const returned = [...this.#returned].map(([lease, parts]): Returned => ({ lease, ...parts }))
    const allowance = this.#allowance
    this.#returned.clear()
    this.#allowance = null
    return { returned, allowance }
  }

  /** The lease to ask for, and what it lacks to be as full as `target`. */
  request(target: { readonly requests: number; readonly tokens: number } | undefined): {
    readonly lease: string
    readonly extra: LeaseRequest['extra']
  } {
    const now = this.#options.now()
    if (now - this.#lease.bornAt > leaseLifeMs || this.#lease.isOver(now)) this.#next ??= this.#newLease()
    const lacking = target === undefined ? { requests: 0, tokens: 0 } : this.#lease.lacks(target, now)
    return { lease: (this.#next ?? this.#lease).id, extra: { ...lacking, slots: 0 } }
  }

  /** The owner has granted it; false when it came too late to be used. */
  add(grant: Grant, sentAt: number): boolean {
    if (sentAt + grant.admitForMs <= this.#options.now()) {
      // The owner may have taken it back meanwhile, so neither it nor its name is used again.
      this.renew()
      return false
    }
    if (grant.lease === this.#next?.id) {
      this.#return(this.#lease.drain())
      this.#lease = this.#next
      this.#next = undefined
    }
    if (grant.lease === this.#lease.id) this.#lease.add(grant, sentAt)
    else
      this.#return({ returned: { lease: grant.lease, tokens: grant.tokens ?? 0, slots: grant.slots ?? 0 } })
    return true
  }

  /** The next request is for another lease. */
  renew(): void {
    this.#next = this.#newLease()
  }

  /** The owner's view of this lease is unknown: the lease returns when it expires. */
  forget(): void {
    this.#lease.drain()
    this.#next = undefined
    this.#lease = this.#newLease()
  }

  #return({ allowance, returned }: { returned: Returned; allowance?: ReturnedAllowance }): void {
    const { lease, slots, tokens } = returned
    const before = this.#returned.get(lease)
    if (tokens > 0 || slots > 0)
      this.#returned.set(lease, {
        tokens: tokens + (before?.tokens ?? 0),
        slots: slots + (before?.slots ?? 0),
      })
    if (allowance === undefined || allowance.minute < 0) return
    const same = this.#allowance?.minute === allowance.minute ? this.#allowance : undefined
    this.#allowance = {
      minute: allowance.minute,
      requests: allowance.requests + (same?.requests ?? 0),
      tokens: allowance.tokens + (same?.tokens ?? 0),
    }
  }

  #newLease(): Lease {
    return new Lease({ id: this.#options.newId(), bornAt: this.#options.now() })
  }
}
