import { QuartetError } from '../../shared/errors.ts'
import type { Acknowledgements } from './acknowledgements.ts'
import { dayOf } from './calendar.ts'
import { isScarce } from './decide-grant.ts'
import {
  type Charge,
  type Exchange,
  type ExchangeAnswer,
  exchangeRetryMs,
  type LeaseRequest,
  type LimitRefusal,
} from './exchange.ts'
import { KnownLimits, type StandingsSeen } from './known-limits.ts'
import type { Reserved } from './lease.ts'
import { LeaseHolding } from './lease-holding.ts'
import type { Limits } from './limits.ts'
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
  /** There may be no later report: choices whose node does not tell its count are charged by what the edge saw. */
  readonly isLast?: boolean
}

interface Unanswered {
  readonly exchange: Exchange
  readonly sentAt: number
}

/** After a refusal, and near a limit, each request asks the owner for itself, for this long. */
const scarceMs = 5_000
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
  readonly #holding: LeaseHolding
  readonly #limits: KnownLimits
  readonly #charges = new PendingCharges()
  #unanswered: Unanswered[] = []
  #scarceUntil = 0
  #renewing = 0
  #admitted = 0
  #running = 0
  #isResting = false

  constructor(options: AccountOptions) {
    this.#options = options
    this.#holding = new LeaseHolding(options)
    this.#limits = new KnownLimits(options.now)
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

  /** True when the isolate holds nothing and has nothing left to report. */
  get isSettled(): boolean {
    const { isEmpty, owes } = this.#holding
    return this.pending === 0 && !owes && this.#unanswered.length === 0 && isEmpty
  }

  /** Limits and how they stand, as far as this isolate knows. */
  get standings(): StandingsSeen | undefined {
    return this.#limits.standings(this.#holding.left)
  }

  /**
   * Takes note of the limits in the tenant's record. A lease that was granted under others is used no further: every
   * request asks the owner, until both say the same.
   */
  applyLimits(recorded: Limits): void {
    this.#limits.record(recorded)
    if (this.#limits.isDisputed) this.#holding.drain()
  }

  /** Whether requests must be admitted: by the tenant's record, or by a later answer of the owner. */
  isLimited(recorded: Limits): boolean {
    return this.#limits.isLimited(recorded)
  }

  /** True when nothing would be lost if the account were forgotten. */
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
      const reserved = this.#take(need) ?? (await this.#askFor(need, owner))
      if (reserved !== undefined) return reserved
    }
    throw unavailable('your budget could not be asked in time; retry')
  }

  /** Whether, as far as this isolate knows, some limit has no room for another request. */
  get seemsFull(): boolean {
    return this.#limits.seemFull && !this.#holding.has(leastNeed)
  }

  /** Has the owner refuse, or grant what the smallest request needs. Throws BudgetRefusal. */
  async askForLeast(owner: BudgetOwner): Promise<void> {
    const { answer } = await this.#send(this.#exchange({ need: leastNeed }), { owner })
    // The missing room may be what this isolate holds itself: then the request's own need decides.
    if (answer.outcome.kind === 'refused' && this.#holding.isEmpty)
      throw this.#refused(answer.outcome.refusal)
  }

  /** Whether it is time to ask for more in the background; the caller then calls `renew`. */
  get wantsRenewal(): boolean {
    return this.#mayFill && this.#holding.isLow
  }

  /** Asks for what requests will need next. */
  async renew(owner: BudgetOwner): Promise<void> {
    await this.#send(this.#exchange({ need: null }), { owner })
  }

  /** Room that a request did not need, or no longer needs. Its charges give back the tokens that a budget pays. */
  giveBack(reserved: Reserved, unused: { slots: number; allowance: number }): void {
    this.#holding.giveBack(reserved, unused)
  }

  /** Charges a choice. `node`: who keeps its settlement. */
  charge(charge: Charge, node?: string): void {
    this.#charges.add(charge, node)
  }

  /** Charges a choice once its node has told its count. */
  chargeCounted(choice: Omit<UncountedChoice, 'since'>): void {
    this.#charges.addUncounted({ ...choice, since: this.#options.now() })
  }

  /** Gives the lease back, so that other isolates can use its tokens, until the next request comes. */
  release(): void {
    this.#isResting = true
    this.#holding.drain()
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
    const isQuiet = () => this.#holding.isEmpty || this.#limits.toldAt >= heardSince
    while (this.#charges.hasNews || this.#holding.hasReturns || !isQuiet())
      // A call that is made anyway fills the lease up.
      await this.#send(this.#exchange(this.#mayFill ? { need: null } : undefined), { owner })
  }

  /** Undefined when the grant can no longer be used, so that asking again is right. */
  async #askFor(need: number, owner: BudgetOwner): Promise<Reserved | undefined> {
    const first = await this.#send(this.#exchange({ need }), { owner, need })
    if (first.answer.outcome.kind !== 'refused') return first.reserved
    const { refusal } = first.answer.outcome
    const late = this.#take(need)
    if (late !== undefined) return late
    if (refusal.room === 'never' || this.#holding.isEmpty) throw this.#refused(refusal)
    // The missing room may be just what this isolate holds itself.
    this.#holding.drain()
    const second = await this.#send(this.#exchange({ need }), { owner, need })
    if (second.answer.outcome.kind === 'refused') throw this.#refused(second.answer.outcome.refusal)
    return second.reserved
  }

  /**
   * Whether more may be asked for than a waiting request needs: the tenant has limits, a steady load, and is not short.
   */
  get #mayFill(): boolean {
    const now = this.#options.now()
    const isPaused = this.#isResting || now < this.#renewing || now < this.#scarceUntil
    if (!this.#limits.isBounded || this.#limits.isDisputed || isPaused) return false
    return this.#pace.ahead(now) !== undefined
  }

  #take(need: number): Reserved | undefined {
    const reserved = this.#holding.take(need)
    if (reserved === undefined) return undefined
    this.#admitted += 1
    this.#running += 1
    this.#pace.count(need, this.#options.now())
    return reserved
  }

  #refused(refusal: LimitRefusal): BudgetRefusal {
    this.#scarceUntil = this.#options.now() + scarceMs
    return new BudgetRefusal(refusal)
  }

  /** An exchange that tells everything there is to tell. With `request` it also asks for a lease. */
  #exchange(request: { readonly need: number | null } | undefined): Exchange {
    return {
      id: this.#options.newId(),
      charges: this.#charges.take(),
      ...this.#holding.takeReturns(),
      request: request === undefined ? null : this.#leaseRequest(request.need),
    }
  }

  #leaseRequest(need: number | null): LeaseRequest {
    const { holder, now, timeoutMs } = this.#options
    const at = now()
    if (need === null) this.#renewing = at + renewPauseMs
    const ahead = need === null ? this.#pace.ahead(at) : undefined
    return { holder, need, timeoutMs, ...this.#holding.request(ahead) }
  }

  /** Sends an exchange, and once more when there is no answer: owners restart. Takes `need` from what is granted. */
  async #send(
    exchange: Exchange,
    { need, owner, sentAt = this.#options.now() }: { owner: BudgetOwner; need?: number; sentAt?: number },
  ): Promise<{ readonly answer: ExchangeAnswer; readonly reserved: Reserved | undefined }> {
    let answer: ExchangeAnswer
    try {
      answer = await owner.exchange(exchange).catch(() => owner.exchange(exchange))
    } catch (cause) {
      this.#unanswered.push({ exchange, sentAt })
      throw unavailable('your budget cannot be asked now; retry', cause)
    }
    this.#answered(exchange, answer, sentAt)
    const reserved = need !== undefined && answer.outcome.kind === 'granted' ? this.#take(need) : undefined
    if (isScarce(answer.standings)) {
      this.#scarceUntil = this.#options.now() + scarceMs
      this.#holding.drain()
    }
    return { answer, reserved }
  }

  #answered({ charges, request }: Exchange, answer: ExchangeAnswer, sentAt: number): void {
    const { outcome } = answer
    this.#limits.tell(answer)
    this.#charges.acknowledge(charges)
    if (outcome.kind === 'over') this.#holding.renew()
    if (outcome.kind !== 'granted' || !this.#holding.add(outcome.grant, sentAt)) return
    // Where a grant is nearly empty, requests ask for themselves for a while.
    if (request?.need === null && !this.#holding.isLow) this.#renewing = 0
  }

  /** The owner may or may not have heard it: charges are sent again, the rest returns when the lease expires. */
  #giveUp({ charges }: Exchange): void {
    this.#charges.tellAnew(charges)
    this.#holding.forget()
  }
}
