import { QuartetError } from '../../shared/errors.ts'
import type { Acknowledgements } from './acknowledgements.ts'
import { dayOf } from './clock.ts'
import { isScarce } from './decide.ts'
import {
  type Charge,
  type Exchange,
  type ExchangeAnswer,
  exchangeRetryMs,
  type LeaseRequest,
  type Refusal,
  type Returned,
  type ReturnedAllowance,
} from './exchange.ts'
import { Lease, type LeaseRest, type Reserved } from './lease.ts'
import { areSame, isLimited, type Limits, limitNames, limitRules, type Standings } from './limits.ts'
import { Pace } from './pace.ts'
import { PendingCharges } from './pending-charges.ts'
import { BudgetRefusal, leastNeed } from './refusal.ts'
import type { Collect, UncountedChoice } from './uncounted-choices.ts'

/** The owner of the tenant's budget, as one call reaches it. */
export interface BudgetOwner {
  exchange(exchange: Exchange): Promise<ExchangeAnswer>
}

export interface AccountOptions {
  /** The isolate's own name, fresh for each account. */
  readonly holder: string
  readonly timeoutMs: number
  readonly now: () => number
  readonly newId: () => string
}

export interface FlushOptions {
  readonly owner: BudgetOwner
  readonly collect: Collect
  /** An isolate that holds something and has heard nothing of the owner since then asks how it stands. */
  readonly heardSince?: number
  /** Nobody may come again: choices whose node does not tell its count are charged by what the edge saw. */
  readonly isLast?: boolean
}

interface Unanswered {
  readonly exchange: Exchange
  readonly sentAt: number
}

/** A lease is given up after this long, so that what an isolate lost count of returns with its expiry. */
const leaseLifeMs = 120_000
/** After a refusal, and near a limit: everything is asked for one by one. */
const scarceMs = 5_000
/** The owner's last word is believed this long where the tenant's record says otherwise. */
const limitsKnownMs = 60_000
const maxRounds = 4
const renewPauseMs = 2_000

const unavailable = (message: string, cause?: unknown) =>
  new QuartetError('control_unavailable', message, { cause })

/**
 * An isolate's account with one tenant's budget: admits requests from its lease, asks the owner when that does not
 * suffice, and tells it in batches what requests used. Requests come and go while calls are under way; a message
 * without an answer is sent again as it was, so that it counts once.
 */
export class TenantAccount {
  readonly #options: AccountOptions
  readonly #pace = new Pace()
  #lease: Lease
  /** The one to change to when it is granted. */
  #next: Lease | undefined
  readonly #charges = new PendingCharges()
  #allowance: ReturnedAllowance | null = null
  readonly #returned = new Map<string, { tokens: number; slots: number }>()
  #unanswered: Unanswered[] = []
  /** Limits as the tenant's record has them. */
  #recorded: Limits | undefined
  #known: { readonly limits: Limits; readonly standings: Standings; readonly at: number } | undefined
  #scarceUntil = 0
  #renewing = 0
  #admitted = 0
  #running = 0
  #isResting = false

  constructor(options: AccountOptions) {
    this.#options = options
    this.#lease = this.#newLease()
  }

  /** Requests admitted so far. */
  get admitted(): number {
    return this.#admitted
  }

  /** Charges that the owner has not been told. */
  get pending(): number {
    return this.#charges.count
  }

  /** Settlements that nodes may forget. */
  get acknowledgements(): Acknowledgements {
    return this.#charges.acknowledgements
  }

  /** Nothing is held here and nothing is left to tell. */
  get isSettled(): boolean {
    return (
      this.pending === 0 && this.#returned.size === 0 && this.#unanswered.length === 0 && this.#lease.isEmpty
    )
  }

  /** Limits and how they stand, as far as this isolate knows. */
  get standings():
    | { readonly standings: Standings; readonly left: LeaseRest; readonly ageMs: number }
    | undefined {
    const now = this.#options.now()
    return (
      this.#known && {
        standings: this.#known.standings,
        left: this.#lease.left(now),
        ageMs: now - this.#known.at,
      }
    )
  }

  /**
   * Takes note of the limits in the tenant's record. A lease that was granted under others is used no further: every
   * request asks the owner, until both say the same.
   */
  applyLimits(recorded: Limits): void {
    this.#recorded = recorded
    if (this.#isDisputed) this.#drain()
  }

  /** Whether requests must be admitted: by the tenant's record, or by the owner's younger word. */
  isLimited(recorded: Limits): boolean {
    const known = this.#known
    const isYoung = known !== undefined && this.#options.now() - known.at < limitsKnownMs
    return isLimited(recorded) || (isYoung && isLimited(known.limits))
  }

  /** Nothing is going on here: nothing is lost when the account is forgotten. */
  get isIdle(): boolean {
    return this.#running === 0 && this.isSettled
  }

  /** A request that was admitted is over. */
  left(): void {
    this.#running -= 1
  }

  /** A request of a tenant without limits takes nothing. */
  admitFreely(): Reserved {
    this.#admitted += 1
    this.#running += 1
    const day = dayOf(this.#options.now())
    return { lease: '', day, tokens: 0, slots: 0, minute: -1, allowance: { requests: 0, tokens: 0 } }
  }

  /** Takes room for a request. Throws BudgetRefusal, or `control_unavailable` when the owner does not answer. */
  async admit(need: number, owner: BudgetOwner): Promise<Reserved> {
    this.#isResting = false
    for (let round = 0; round < maxRounds; round++) {
      const taken = this.#take(need) ?? (await this.#askFor(need, owner))
      if (taken !== undefined) return taken
    }
    throw unavailable('your budget could not be asked in time; retry')
  }

  /** Whether, as far as this isolate knows, some limit has no room for another request. */
  get seemsFull(): boolean {
    const now = this.#options.now()
    const known = this.#known
    if (known === undefined || this.#lease.has(leastNeed, now)) return false
    return limitNames.some((name) => {
      const standing = known.standings[name]
      if (standing === undefined) return false
      const isOld = standing.resetMs !== null && now - known.at >= standing.resetMs
      return !isOld && standing.left < (limitRules[name].unit === 'tokens' ? leastNeed : 1)
    })
  }

  /** Has the owner refuse, or grant what the smallest request needs. Throws BudgetRefusal. */
  async askForLeast(owner: BudgetOwner): Promise<void> {
    const { answer } = await this.#send(this.#exchange({ need: leastNeed }), { owner })
    // The missing room may be what this isolate holds itself: then the request's own need decides.
    if (answer.outcome.kind === 'refused' && this.#lease.isEmpty) throw this.#refused(answer.outcome.refusal)
  }

  /** Whether it is time to ask for more behind the requests; the caller then calls `renew`. */
  get wantsRenewal(): boolean {
    return this.#mayFill && this.#lease.isLow(this.#options.now())
  }

  /** Asks for what requests will need next. */
  async renew(owner: BudgetOwner): Promise<void> {
    await this.#send(this.#exchange({ need: null }), { owner })
  }

  /** Room that a request did not need, or no longer needs. Its charges give back the tokens that a budget pays. */
  giveBack({ lease, minute }: Reserved, { allowance, slots }: { slots: number; allowance: number }): void {
    if (allowance > 0) this.#lease.allow(minute, allowance)
    if (slots === 0) return
    if (lease === this.#lease.id) this.#lease.giveBack(slots)
    else this.#putBack({ returned: { lease, slots, tokens: 0 } })
  }

  /** Charges a choice. `node`: who keeps its settlement. */
  charge(charge: Charge, node?: string): void {
    this.#charges.add(charge, node)
  }

  /** Charges a choice once its node has told its count. */
  chargeCounted(choice: Omit<UncountedChoice, 'since'>): void {
    this.#charges.addUncounted({ ...choice, since: this.#options.now() })
  }

  /** Gives the lease back, for whoever else may need it, until the next request comes. */
  release(): void {
    this.#isResting = true
    this.#drain()
  }

  /** Tells the owner what requests used and what returns. Does nothing when there is nothing to tell. */
  async flush({ collect, heardSince = 0, isLast = false, owner }: FlushOptions): Promise<void> {
    await this.#charges.resolve(collect, { now: this.#options.now(), isLast })
    for (let left = this.#unanswered.length; left > 0; left--) {
      const next = this.#unanswered.shift()
      if (next === undefined) break
      if (this.#options.now() - next.sentAt >= exchangeRetryMs) this.#giveUp(next.exchange)
      else await this.#send(next.exchange, { owner, sentAt: next.sentAt })
    }
    while (this.#hasNews || (!this.#lease.isEmpty && (this.#known?.at ?? 0) < heardSince))
      // A call that is made anyway fills the lease up.
      await this.#send(this.#exchange(this.#mayFill ? { need: null } : undefined), { owner })
  }

  /** Undefined when what was granted can no longer be used, so that asking again is right. */
  async #askFor(need: number, owner: BudgetOwner): Promise<Reserved | undefined> {
    const first = await this.#send(this.#exchange({ need }), { owner, need })
    if (first.answer.outcome.kind !== 'refused') return first.taken
    const { refusal } = first.answer.outcome
    const late = this.#take(need)
    if (late !== undefined) return late
    if (refusal.room === 'never' || this.#lease.isEmpty) throw this.#refused(refusal)
    // The missing room may be just what this isolate holds itself.
    this.#drain()
    const second = await this.#send(this.#exchange({ need }), { owner, need })
    if (second.answer.outcome.kind === 'refused') throw this.#refused(second.answer.outcome.refusal)
    return second.taken
  }

  /** Whether more may be asked for than a waiting request needs: the tenant has limits, a steady load, and is not short. */
  get #mayFill(): boolean {
    const now = this.#options.now()
    const isBounded = this.#known !== undefined && isLimited(this.#known.limits)
    const mayAsk =
      isBounded && !this.#isDisputed && !this.#isResting && now >= this.#renewing && now >= this.#scarceUntil
    return mayAsk && this.#pace.ahead(now) !== undefined
  }

  get #hasNews(): boolean {
    return this.#charges.hasNews || this.#returned.size > 0 || this.#allowance !== null
  }

  get #isDisputed(): boolean {
    const [recorded, known] = [this.#recorded, this.#known]
    return recorded !== undefined && known !== undefined && !areSame(recorded, known.limits)
  }

  #drain(): void {
    if (!this.#lease.isEmpty) this.#putBack(this.#lease.drain())
  }

  #take(need: number): Reserved | undefined {
    const now = this.#options.now()
    const taken = this.#lease.take(need, now)
    if (taken === undefined) return undefined
    this.#admitted += 1
    this.#running += 1
    this.#pace.count(need, now)
    return taken
  }

  #refused(refusal: Refusal): BudgetRefusal {
    this.#scarceUntil = this.#options.now() + scarceMs
    return new BudgetRefusal(refusal)
  }

  #newLease(): Lease {
    return new Lease({ id: this.#options.newId(), bornAt: this.#options.now() })
  }

  /** Everything there is to tell, and perhaps a question. */
  #exchange(ask: { readonly need: number | null } | undefined): Exchange {
    const returned = [...this.#returned].map(([lease, parts]): Returned => ({ lease, ...parts }))
    this.#returned.clear()
    const allowance = this.#allowance
    this.#allowance = null
    return {
      id: this.#options.newId(),
      charges: this.#charges.take(),
      returned,
      allowance,
      ask: ask === undefined ? null : this.#ask(ask.need),
    }
  }

  #ask(need: number | null): LeaseRequest {
    const { holder, now, timeoutMs } = this.#options
    const at = now()
    if (at - this.#lease.bornAt > leaseLifeMs || this.#lease.isOver(at)) this.#next ??= this.#newLease()
    if (need === null) this.#renewing = at + renewPauseMs
    const ahead = need === null ? this.#pace.ahead(at) : undefined
    const extra = { ...(ahead ? this.#lease.lacks(ahead, at) : { requests: 0, tokens: 0 }), slots: 0 }
    return { holder, lease: (this.#next ?? this.#lease).id, need, extra, timeoutMs }
  }

  /** Sends an exchange, and once more when there is no answer: owners restart. Takes `need` from what is granted. */
  async #send(
    exchange: Exchange,
    { need, owner, sentAt = this.#options.now() }: { owner: BudgetOwner; need?: number; sentAt?: number },
  ): Promise<{ readonly answer: ExchangeAnswer; readonly taken: Reserved | undefined }> {
    let answer: ExchangeAnswer
    try {
      answer = await owner.exchange(exchange).catch(() => owner.exchange(exchange))
    } catch (cause) {
      this.#unanswered.push({ exchange, sentAt })
      throw unavailable('your budget cannot be asked now; retry', cause)
    }
    this.#answered(exchange, answer, sentAt)
    const taken = need !== undefined && answer.outcome.kind === 'granted' ? this.#take(need) : undefined
    if (isScarce(answer.standings)) {
      this.#scarceUntil = this.#options.now() + scarceMs
      this.#drain()
    }
    return { answer, taken }
  }

  #answered(
    { ask, charges }: Exchange,
    { limits, outcome, standings }: ExchangeAnswer,
    sentAt: number,
  ): void {
    this.#known = { limits, standings, at: this.#options.now() }
    this.#charges.acknowledge(charges)
    if (outcome.kind === 'over') this.#next = this.#newLease()
    if (outcome.kind !== 'granted') return
    const { grant } = outcome
    const now = this.#options.now()
    if (sentAt + grant.admitForMs <= now) {
      // The owner may have taken it back meanwhile, so neither it nor its name is used again.
      this.#next = this.#newLease()
      return
    }
    if (grant.lease === this.#next?.id) {
      this.#putBack(this.#lease.drain())
      this.#lease = this.#next
      this.#next = undefined
    }
    if (grant.lease === this.#lease.id) this.#lease.add(grant, sentAt)
    else
      this.#putBack({ returned: { lease: grant.lease, tokens: grant.tokens ?? 0, slots: grant.slots ?? 0 } })
    // Where next to nothing is to be had, requests ask for themselves for a while.
    if (ask?.need === null && !this.#lease.isLow(now)) this.#renewing = 0
  }

  #putBack({ allowance, returned }: { returned: Returned; allowance?: ReturnedAllowance }): void {
    const { lease, slots, tokens } = returned
    const kept = this.#returned.get(lease)
    if (tokens > 0 || slots > 0)
      this.#returned.set(lease, { tokens: tokens + (kept?.tokens ?? 0), slots: slots + (kept?.slots ?? 0) })
    if (allowance === undefined || allowance.minute < 0) return
    const before = this.#allowance?.minute === allowance.minute ? this.#allowance : undefined
    this.#allowance = {
      minute: allowance.minute,
      requests: allowance.requests + (before?.requests ?? 0),
      tokens: allowance.tokens + (before?.tokens ?? 0),
    }
  }

  /** Whether it was heard is not known any more: charges are told anew, the rest returns by expiry. */
  #giveUp({ charges }: Exchange): void {
    this.#charges.tellAnew(charges)
    this.#lease.drain()
    this.#next = undefined
    this.#lease = this.#newLease()
  }
}
