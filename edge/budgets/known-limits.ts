import type { LeaseRest } from './lease.ts'
import { areSame, isLimited, type Limits, limitNames, limitRules, type Standings } from './limits.ts'
import { leastNeed } from './refusal.ts'

/** The owner's last answer counts this long where the tenant's record says otherwise. */
const limitsKnownMs = 60_000

export interface StandingsSeen {
  readonly standings: Standings
  /** The rest of the isolate's own lease. */
  readonly left: LeaseRest
  readonly ageMs: number
}

/** A tenant's limits as an isolate knows them: by the tenant's record, and by the last answer of the budget's owner. */
export class KnownLimits {
  readonly #now: () => number
  #recorded: Limits | undefined
  #told: { readonly limits: Limits; readonly standings: Standings; readonly at: number } | undefined

  constructor(now: () => number) {
    this.#now = now
  }

  /** The tenant's record has these. */
  record(limits: Limits): void {
    this.#recorded = limits
  }

  /** The owner has told these. */
  tell({ limits, standings }: { limits: Limits; standings: Standings }): void {
    this.#told = { limits, standings, at: this.#now() }
  }

  /** When the owner last told them; 0 before it has. */
  get toldAt(): number {
    return this.#told?.at ?? 0
  }

  /** The record and the owner say different things. */
  get isDisputed(): boolean {
    const [recorded, told] = [this.#recorded, this.#told]
    return recorded !== undefined && told !== undefined && !areSame(recorded, told.limits)
  }

  /** Whether the owner has told of any limit. */
  get isBounded(): boolean {
    return this.#told !== undefined && isLimited(this.#told.limits)
  }

  /** Whether requests must be admitted: by the record, or by a later answer of the owner. */
  isLimited(recorded: Limits): boolean {
    return isLimited(recorded) || (this.isBounded && this.#now() - this.toldAt < limitsKnownMs)
  }

  standings(left: LeaseRest): StandingsSeen | undefined {
    return this.#told && { standings: this.#told.standings, left, ageMs: this.#now() - this.#told.at }
  }

  /** Whether, by the owner's last answer, some limit has no room for another request. */
  get seemFull(): boolean {
    const told = this.#told
    if (told === undefined) return false
    return limitNames.some((name) => {
      const standing = told.standings[name]
      if (standing === undefined) return false
      const isOld = standing.resetMs !== null && this.#now() - told.at >= standing.resetMs
      return !isOld && standing.left < (limitRules[name].unit === 'tokens' ? leastNeed : 1)
    })
  }
}
