import { DurableObject } from 'cloudflare:workers'
import type { TenantPolicy } from '../../shared/api/policy.ts'
import type { SettlementId } from '../../shared/ids.ts'
import type { Settlement } from '../../shared/settlement.ts'
import { dayOf, monthOf } from './clock.ts'
import type { Exchange, ExchangeAnswer } from './exchange.ts'
import { Ledger } from './ledger.ts'
import { limitsOf } from './limits.ts'
import type { Sql } from './sql.ts'
import { type DayUsage, readUsage, type UsagePage } from './usage-table.ts'

/** How a tenant's budget stands. */
export interface BudgetStanding {
  readonly spent: { readonly day: number; readonly month: number }
  readonly held: Ledger['held']
  readonly standings: Ledger['standings']
  /** Calls since this object started: what isolates and heartbeats cost it. */
  readonly calls: number
}

/** One per tenant: the only owner of what it has spent, what isolates hold of its budget, and its usage. */
export class TenantBudget extends DurableObject {
  readonly #sql: Sql
  readonly #ledger: Ledger
  #calls = 0

  constructor(ctx: DurableObjectState, env: Cloudflare.Env) {
    super(ctx, env)
    this.#sql = sqlOf(ctx.storage)
    this.#ledger = new Ledger(this.#sql)
  }

  /**
   * Called by the tenant's directory within each change of its policy; the same policy twice changes nothing. With
   * another `tenancy` (when the tenant was created) than before, a new tenant has taken the name of a deleted one.
   */
  async setPolicy(policy: TenantPolicy, tenancy: number): Promise<void> {
    this.#ledger.setLimits(limitsOf(policy), tenancy)
  }

  async exchange(exchange: Exchange): Promise<ExchangeAnswer> {
    this.#calls += 1
    return this.#ledger.exchange(exchange)
  }

  /** Charges what nodes tell of their own accord; all of it can then be acknowledged. */
  async settle(settlements: readonly Settlement[]): Promise<SettlementId[]> {
    this.#calls += 1
    return this.#ledger.settle(settlements)
  }

  async usage(page: UsagePage): Promise<DayUsage[]> {
    return readUsage(this.#sql, page)
  }

  async standing(): Promise<BudgetStanding> {
    const day = dayOf(Date.now())
    return {
      spent: { day: this.#ledger.spent(day), month: this.#ledger.spent(monthOf(day)) },
      held: this.#ledger.held,
      standings: this.#ledger.standings,
      calls: this.#calls,
    }
  }
}

function sqlOf(storage: DurableObjectStorage): Sql {
  return {
    all: <Row extends Record<string, string | number | null>>(
      query: string,
      ...values: (string | number | null)[]
    ) => storage.sql.exec<Row>(query, ...values).toArray(),
    atomically: (work) => storage.transactionSync(work),
  }
}
