import type { KeyId, RequestId, SettlementId, TenantId } from '../../shared/ids.ts'
import type { Reservation, UsageBound } from './admission.ts'
import { boundTokens } from './admission.ts'
import type { Limits } from './limits.ts'
import { AccountReservation } from './reservation.ts'
import { type BudgetOwner, type FlushOptions, TenantAccount } from './tenant-account.ts'
import type { Collect } from './uncounted-choices.ts'

/** A request's access to the owner and the nodes. In a worker, I/O belongs to the request that begins it. */
export interface BudgetAccess {
  readonly owner: BudgetOwner
  readonly collect: Collect
  /** Keeps work alive that outlasts the request. */
  readonly background: (work: Promise<unknown>) => void
}

export interface AdmissionRequest {
  readonly tenant: TenantId
  /** When the tenant was created: one of a deleted tenant's name has nothing of what that one held. */
  readonly tenancy?: number | undefined
  readonly key: KeyId
  readonly requestId: RequestId
  readonly bound: UsageBound
  /** The tenant's record says them. */
  readonly limits: Limits
  /** The share of a token that a cached prompt token counts. */
  readonly cachedTokenShare?: number | undefined
}

export interface BudgetsOptions {
  /** How long an admitted request may run. */
  readonly timeoutMs: number
  /** How long charges are gathered before their owner is told. */
  readonly gatherMs: number
  readonly failed: (error: unknown) => void
  readonly now?: () => number
}

/** A full batch is told at once. */
const batch = 256
/** A request starts rounds of reports in the background. An idle tenant is done within this many rounds … */
const settlingRounds = 4
/** … and a later request takes over a busy tenant after this many. */
const successionRounds = 2

/** Beyond this number, idle tenants are forgotten. */
const mostAccounts = 10_000

interface OpenAccount {
  readonly account: TenantAccount
  readonly tenancy: number | undefined
  settlingSince: number | undefined
}

/** An isolate's accounts with the budgets of its tenants: the one owner of what it holds of them. */
export class Budgets {
  readonly #options: BudgetsOptions
  readonly #accounts = new Map<TenantId, OpenAccount>()
  readonly #now: () => number

  constructor(options: BudgetsOptions) {
    this.#options = options
    this.#now = options.now ?? Date.now
  }

  /** Room for a request, before its work begins. Throws BudgetRefusal or `control_unavailable`. */
  async admit(
    { limits, tenancy, tenant, ...request }: AdmissionRequest,
    access: BudgetAccess,
  ): Promise<Reservation> {
    const open = this.#open(tenant, tenancy)
    const { account } = open
    account.applyLimits(limits)
    try {
      const reserved = account.isLimited(limits)
        ? await account.admit(boundTokens(request.bound), access.owner)
        : account.admitFreely()
      return new AccountReservation({ ...request, account, reserved, tenancy, at: this.#now() })
    } finally {
      this.keep(tenant, access)
    }
  }

  /** Throws BudgetRefusal where not even the smallest request would be admitted now. */
  async refuseIfFull(
    { limits, tenancy, tenant }: Pick<AdmissionRequest, 'tenant' | 'tenancy' | 'limits'>,
    access: BudgetAccess,
  ): Promise<void> {
    const { account } = this.#open(tenant, tenancy)
    account.applyLimits(limits)
    if (!account.isLimited(limits) || !account.seemsFull) return
    try {
      await account.askForLeast(access.owner)
    } finally {
      this.keep(tenant, access)
    }
  }

  /** Reports to the owner in the background, and returns idle leases. */
  keep(tenant: TenantId, access: BudgetAccess): void {
    const open = this.#open(tenant)
    const { account } = open
    const { gatherMs } = this.#options
    if (account.pending >= batch) access.background(this.#flush(account, access))
    else if (account.wantsRenewal) access.background(account.renew(access.owner).catch(this.#options.failed))
    const now = this.#now()
    if (open.settlingSince !== undefined && now - open.settlingSince < successionRounds * gatherMs) return
    open.settlingSince = now
    access.background(this.#settleBehind({ open, access, since: now }))
  }

  /** The tenant's limits as this isolate knows them. */
  standings(tenant: TenantId): TenantAccount['standings'] {
    return this.#accounts.get(tenant)?.account.standings
  }

  /** Settlements of a tenant that a node may forget. */
  acknowledgements(tenant: TenantId, { most, node }: { node: string; most: number }): SettlementId[] {
    return this.#accounts.get(tenant)?.account.acknowledgements.take(node, most) ?? []
  }

  #open(tenant: TenantId, tenancy?: number): OpenAccount {
    const known = this.#accounts.get(tenant)
    if (known !== undefined && (tenancy === undefined || known.tenancy === tenancy)) return known
    if (this.#accounts.size >= mostAccounts)
      for (const [id, { account }] of this.#accounts) if (account.isIdle) this.#accounts.delete(id)
    const account = new TenantAccount({
      holder: crypto.randomUUID(),
      timeoutMs: this.#options.timeoutMs,
      now: this.#now,
      newId: () => crypto.randomUUID(),
    })
    const open: OpenAccount = { account, tenancy, settlingSince: undefined }
    this.#accounts.set(tenant, open)
    return open
  }

  async #settleBehind({
    open,
    access,
    since,
  }: {
    open: OpenAccount
    access: BudgetAccess
    since: number
  }): Promise<void> {
    const { account } = open
    for (let round = 0, failures = 0; round < settlingRounds && failures < 2; round++) {
      const { admitted } = account
      await new Promise((resolve) => setTimeout(resolve, this.#options.gatherMs))
      if (open.settlingSince !== since) return
      if (account.admitted === admitted) account.release()
      const isLast = round === settlingRounds - 1
      const heardSince = this.#now() - this.#options.gatherMs
      failures = (await this.#flush(account, access, { isLast, heardSince })) ? 0 : failures + 1
      if (account.admitted === admitted && account.isSettled) break
    }
    if (open.settlingSince === since) open.settlingSince = undefined
  }

  /**
   * Returns whether it succeeded. Counts that were not told stay for the next time, and the nodes tell them as well.
   */
  async #flush(
    account: TenantAccount,
    { collect, owner }: BudgetAccess,
    options: Pick<FlushOptions, 'heardSince' | 'isLast'> = {},
  ): Promise<boolean> {
    try {
      await account.flush({ ...options, collect, owner })
      return true
    } catch (thrown) {
      this.#options.failed(thrown)
      return false
    }
  }
}
