import { DurableObject } from 'cloudflare:workers'
import type { BudgetAlert } from '../../shared/api/alerts.ts'
import type { CanaryReport, CanarySide } from '../../shared/api/deployments.ts'
import type { TenantPolicy } from '../../shared/api/policy.ts'
import type { AliasName, SettlementId, TenantId } from '../../shared/ids.ts'
import { nodeTokenKey } from '../../shared/node-token.ts'
import type { Settlement } from '../../shared/settlement.ts'
import { durableSql } from '../store/durable-sql.ts'
import type { Sql } from '../store/sql.ts'
import { AlertBook, type BudgetLevel } from '../webhooks/alert-book.ts'
import { deliver, eventOf, webhookSecret } from '../webhooks/deliver.ts'
import { dayOf, monthOf } from './calendar.ts'
import type { Exchange, ExchangeAnswer, LimitRefusal } from './exchange.ts'
import { Ledger } from './ledger.ts'
import { limitsOf } from './limits.ts'
import { beginShadow, endShadow, type ShadowEnd, type ShadowStart } from './shadow-table.ts'
import { readTrials } from './trial-table.ts'
import { type DayUsage, readUsage, type UsagePage } from './usage-table.ts'

/** The bindings that a budget uses. */
interface BudgetBindings {
  /** Signs for webhooks, too. */
  readonly QUARTET_NODE_SECRET: string
}

const shownAlerts = 20
/** Alerts that one alarm tells of; a webhook that hangs takes its time for each. */
const toldAtOnce = 5

/** How a tenant's budget stands. */
export interface BudgetStanding {
  readonly spent: { readonly day: number; readonly month: number }
  readonly held: Ledger['held']
  readonly standings: Ledger['standings']
  /** Newest first. */
  readonly alerts: readonly BudgetAlert[]
  /** Calls since this object started, from isolates and heartbeats. */
  readonly calls: number
}

/** One per tenant: the only owner of what it has spent, what isolates hold of its budget, and its usage. */
export class TenantBudget extends DurableObject<BudgetBindings> {
  readonly #sql: Sql
  readonly #ledger: Ledger
  readonly #alerts: AlertBook
  #calls = 0

  constructor(ctx: DurableObjectState, env: BudgetBindings) {
    super(ctx, env)
    this.#sql = durableSql(ctx.storage)
    this.#ledger = new Ledger(this.#sql)
    this.#alerts = new AlertBook(this.#sql)
  }

  /**
   * Called by the tenant's directory within each change of its policy; the same policy twice changes nothing. With
   * another `tenancy` (when the tenant was created) than before, a new tenant has taken the name of a deleted one.
   */
  async setPolicy(policy: TenantPolicy, tenancy: number): Promise<void> {
    const { isNewTenancy } = this.#ledger.setLimits(limitsOf(policy), tenancy)
    if (isNewTenancy) this.#alerts.clear()
    await this.#noteLevels()
  }

  async exchange(exchange: Exchange): Promise<ExchangeAnswer> {
    this.#calls += 1
    const answer = this.#ledger.exchange(exchange)
    const { outcome } = answer
    await this.#noteLevels(outcome.kind === 'refused' ? outcome.refusal : undefined)
    return answer
  }

  /** Charges what nodes tell of their own accord; all of it can then be acknowledged. */
  async settle(settlements: readonly Settlement[]): Promise<SettlementId[]> {
    this.#calls += 1
    const settled = this.#ledger.settle(settlements)
    await this.#noteLevels()
    return settled
  }

  async usage(page: UsagePage): Promise<DayUsage[]> {
    return readUsage(this.#sql, page)
  }

  /** Counts of the answers of both sides of an alias's canary, from a version on. */
  async trials(alias: AliasName, since: CanaryReport['since']): Promise<Pick<CanaryReport, CanarySide>> {
    return readTrials(this.#sql, { alias, since })
  }

  /** Whether a shadow may begin; then `endShadow` says what it used. */
  async beginShadow(start: ShadowStart): Promise<boolean> {
    return beginShadow(this.#sql, start, Date.now())
  }

  async endShadow(end: ShadowEnd): Promise<void> {
    endShadow(this.#sql, end)
  }

  async standing(): Promise<BudgetStanding> {
    const day = dayOf(Date.now())
    return {
      spent: { day: this.#ledger.spent(day), month: this.#ledger.spent(monthOf(day)) },
      held: this.#ledger.held,
      standings: this.#ledger.standings,
      calls: this.#calls,
      alerts: this.#alerts.list(shownAlerts),
    }
  }

  async webhook(): Promise<string | undefined> {
    return this.#alerts.webhook?.url
  }

  /** The secret that signs from now on. `url` was checked. */
  async setWebhook(url: string, tenant: TenantId): Promise<string> {
    const nonce = crypto.randomUUID()
    this.#alerts.setWebhook({ tenant, url, nonce })
    return webhookSecret(this.#edgeKey, { tenant, nonce })
  }

  async removeWebhook(): Promise<void> {
    this.#alerts.removeWebhook()
  }

  /** How far a budget is spent of which another object keeps the count. */
  async noteLevel(level: BudgetLevel): Promise<void> {
    if (this.#alerts.note(level, Date.now())) await this.#wake()
  }

  override async alarm(): Promise<void> {
    const { webhook } = this.#alerts
    for (let told = 0; webhook !== undefined && told < toldAtOnce; told++) {
      const alert = this.#alerts.due(Date.now())
      if (alert === undefined) break
      const secret = await webhookSecret(this.#edgeKey, webhook)
      const problem = await deliver(eventOf(webhook.tenant, alert), { webhook: { url: webhook.url, secret } })
      this.#alerts.attempted(alert, { problem, now: Date.now() })
    }
    await this.#wake()
  }

  get #edgeKey(): Uint8Array {
    return nodeTokenKey(this.env.QUARTET_NODE_SECRET)
  }

  async #wake(): Promise<void> {
    const at = this.#alerts.nextAt()
    if (at !== undefined) await this.ctx.storage.setAlarm(at)
  }

  /** Looks how far the budgets are spent. `refusal`: a request was refused just now. */
  async #noteLevels(refusal?: LimitRefusal): Promise<void> {
    const { limits } = this.#ledger
    const day = dayOf(Date.now())
    const levels = (
      [
        ['tokensPerDay', day],
        ['tokensPerMonth', monthOf(day)],
      ] as const
    ).flatMap(([budget, period]) => {
      const limit = limits[budget]
      // Room held for requests that run may come back.
      const isRefusing = refusal?.limit === budget && typeof refusal.room === 'number'
      return limit === null ? [] : [{ budget, period, limit, spent: this.#ledger.spent(period), isRefusing }]
    })
    const isNews = levels.filter((level) => this.#alerts.note(level, Date.now())).length > 0
    if (isNews) await this.#wake()
  }
}
