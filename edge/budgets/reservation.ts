import { type KeyId, type RequestId, settlementId } from '../../shared/ids.ts'
import { answererOf, type ChoiceUse, type Reservation, type UsageBound } from './admission.ts'
import { type ChargeTerms, writeTerms } from './charge-terms.ts'
import { type Charge, tokensOfCharge } from './exchange.ts'
import type { Reserved } from './lease.ts'
import type { TenantAccount } from './tenant-account.ts'

export interface ReservationOptions {
  readonly account: TenantAccount
  readonly reserved: Reserved
  readonly bound: UsageBound
  readonly key: KeyId
  /** The tenant's policy says it. */
  readonly cachedTokenShare?: number | undefined
  /** When the tenant was created. */
  readonly tenancy?: number | undefined
  readonly requestId: RequestId
  /** Milliseconds since 1970. */
  readonly at: number
}

/** The room that one request took of its tenant's account, until it is over. */
export class AccountReservation implements Reservation {
  readonly #options: ReservationOptions
  readonly #settled = new Set<number>()
  /** Tokens charged so far. */
  #used = 0
  /** Choices whose node has not told its count. */
  #uncounted = 0
  #isClosed = false
  #isReturned = false

  constructor(options: ReservationOptions) {
    this.#options = options
  }

  terms(choice: number): string {
    return writeTerms(this.#termsOf(choice))
  }

  settle(choice: number, { node, settlement, ...use }: ChoiceUse): void {
    if (this.#settled.has(choice)) return
    this.#settled.add(choice)
    const { account } = this.#options
    const charge: Charge = { ...use, id: settlement, terms: this.#termsOf(choice) }
    if (use.countedBy === 'node') {
      account.charge(charge, node)
      this.#used += tokensOfCharge(charge)
      return
    }
    this.#uncounted += 1
    account.chargeCounted({
      charge,
      node,
      counted: (tokens) => {
        this.#used += tokens
        this.#uncounted -= 1
        this.#return()
      },
    })
  }

  unanswered(choice: number, outcome: string): void {
    if (this.#settled.has(choice)) return
    this.#settled.add(choice)
    const { account, requestId } = this.#options
    account.charge({
      id: settlementId({ requestId, choice, attempt: 0 }),
      terms: this.#termsOf(choice),
      usage: { promptTokens: 0, completionTokens: 0 },
      outcome,
      firstTokenMs: null,
      countedBy: 'node',
    })
  }

  close(outcome: string): void {
    if (this.#isClosed) return
    this.#isClosed = true
    const { account, bound, reserved } = this.#options
    for (let choice = 0; choice < bound.prompts.length * bound.n; choice++) this.unanswered(choice, outcome)
    account.left()
    account.giveBack(reserved, { slots: reserved.slots, allowance: 0 })
    this.#return()
  }

  /**
   * Gives back what is certain not to be used of the minute: once every choice has its count. Unused tokens of the day
   * and month come back with the charges (charging.ts): were they in the lease before their owner knows what they were
   * left over from, a crash here would have them spent twice.
   */
  #return(): void {
    if (!this.#isClosed || this.#uncounted > 0 || this.#isReturned) return
    this.#isReturned = true
    const { account, reserved } = this.#options
    account.giveBack(reserved, { slots: 0, allowance: Math.max(0, reserved.allowance.tokens - this.#used) })
  }

  #termsOf(choice: number): ChargeTerms {
    const { at, cachedTokenShare = 1, bound, key, reserved, tenancy = null } = this.#options
    const { maxTokens, n, prompts, tokenShare = 1 } = bound
    const { model, promptRows, trial } = answererOf(bound, choice)
    const isFirstOfPrompt = choice % n === 0
    return {
      day: reserved.day,
      at,
      lease: reserved.tokens > 0 ? reserved.lease : null,
      key,
      tenancy,
      model,
      ...(trial === undefined ? {} : { trial }),
      ...(bound.answerers === undefined ? {} : { ownRequest: true as const }),
      prompt: isFirstOfPrompt ? (prompts[choice / n] ?? 0) : 0,
      rows: promptRows,
      cachedTokenShare,
      tokenShare,
      completion: maxTokens,
    }
  }
}
