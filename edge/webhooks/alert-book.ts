import { alertPercents, BudgetAlert, type BudgetName } from '../../shared/api/alerts.ts'
import type { Sql, SqlValue } from '../store/sql.ts'

/** The waits after each failure. After the last one the alert is given up: about a day in all. */
const retryMs = [5_000, 30_000, 120_000, 600_000, 3_600_000, 4 * 3_600_000, 8 * 3_600_000, 12 * 3_600_000]
/** The most alerts of a tenant; the oldest are removed first. */
const maxAlerts = 200

const schema: readonly string[] = [
  `CREATE TABLE IF NOT EXISTS alerts (
    seq INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL, budget TEXT NOT NULL, period TEXT NOT NULL,
    percent INTEGER NOT NULL, spent INTEGER NOT NULL, most INTEGER NOT NULL, at INTEGER NOT NULL, delivery TEXT NOT NULL,
    attempts INTEGER NOT NULL DEFAULT 0, problem TEXT, next_at INTEGER NOT NULL,
    UNIQUE (budget, period, percent, most)
  ) STRICT`,
  `CREATE TABLE IF NOT EXISTS webhook (
    one INTEGER PRIMARY KEY CHECK (one = 1), tenant TEXT NOT NULL, url TEXT NOT NULL, nonce TEXT NOT NULL
  ) STRICT`,
]

interface Row extends Record<string, SqlValue> {
  readonly id: string
  readonly budget: string
  readonly period: string
  readonly percent: number
  readonly spent: number
  readonly most: number
  readonly at: number
  readonly delivery: string
  readonly attempts: number
  readonly problem: string | null
}

export interface WebhookSetting extends Record<string, SqlValue> {
  readonly tenant: string
  readonly url: string
  readonly nonce: string
}

/** How far a budget is spent. */
export interface BudgetLevel {
  readonly budget: BudgetName
  readonly period: string
  readonly spent: number
  readonly limit: number
  /** A request was refused for it: the rest is too small for any. */
  readonly isRefusing?: boolean
}

/** One tenant's alerts, each of which stands once for its budget, period and limit, and its webhook. */
export class AlertBook {
  readonly #sql: Sql

  constructor(sql: Sql) {
    for (const statement of schema) sql.all(statement)
    this.#sql = sql
  }

  get webhook(): WebhookSetting | undefined {
    return this.#sql.all<WebhookSetting>('SELECT tenant, url, nonce FROM webhook')[0]
  }

  /** Alerts that wait go to the new one. */
  setWebhook({ nonce, tenant, url }: WebhookSetting): void {
    this.#sql.all(
      'INSERT INTO webhook VALUES (1, ?, ?, ?) ON CONFLICT DO UPDATE SET tenant = excluded.tenant, url = excluded.url, nonce = excluded.nonce',
      ...[tenant, url, nonce],
    )
  }

  /** Ends all alerts. */
  removeWebhook(): void {
    this.#sql.all('DELETE FROM webhook')
    this.#sql.all(
      "UPDATE alerts SET delivery = 'failed', problem = 'the webhook was removed' WHERE delivery = 'pending'",
    )
  }

  /** A new tenant has taken the name of a deleted one. */
  clear(): void {
    this.#sql.all('DELETE FROM alerts')
    this.#sql.all('DELETE FROM webhook')
  }

  /** Notes which shares of a budget are spent by now. Returns whether the webhook must be called. */
  note({ budget, isRefusing = false, limit, period, spent }: BudgetLevel, now: number): boolean {
    let isNews = false
    for (const percent of alertPercents) {
      const isReached = spent * 100 >= limit * percent || isRefusing
      if (!isReached || limit === 0) continue
      const delivery: BudgetAlert['delivery'] = this.webhook === undefined ? 'unsent' : 'pending'
      const added = this.#sql.all(
        `INSERT INTO alerts (id, budget, period, percent, spent, most, at, delivery, next_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)
         ON CONFLICT DO NOTHING RETURNING seq`,
        ...[`alert_${crypto.randomUUID().replaceAll('-', '')}`, budget, period, percent],
        ...[spent, limit, now, delivery, now],
      )
      isNews ||= added.length > 0 && delivery === 'pending'
    }
    this.#sql.all(
      'DELETE FROM alerts WHERE seq <= (SELECT seq FROM alerts ORDER BY seq DESC LIMIT 1 OFFSET ?)',
      maxAlerts,
    )
    return isNews
  }

  /** Newest first. */
  list(limit: number): BudgetAlert[] {
    return this.#sql.all<Row>('SELECT * FROM alerts ORDER BY seq DESC LIMIT ?', limit).map(alertOf)
  }

  /** The alert to tell of next, if its time has come. */
  due(now: number): BudgetAlert | undefined {
    const [row] = this.#sql.all<Row>(
      "SELECT * FROM alerts WHERE delivery = 'pending' AND next_at <= ? ORDER BY next_at, seq LIMIT 1",
      now,
    )
    return row === undefined ? undefined : alertOf(row)
  }

  /** The time of the next alert; undefined when none waits. */
  nextAt(): number | undefined {
    const [row] = this.#sql.all<{ at: number | null }>(
      "SELECT MIN(next_at) AS at FROM alerts WHERE delivery = 'pending'",
    )
    return row?.at ?? undefined
  }

  /** `problem`: why the webhook did not take it; undefined when it did. */
  attempted(
    { attempts, id }: BudgetAlert,
    { now, problem }: { readonly problem: string | undefined; readonly now: number },
  ): void {
    const wait = retryMs[attempts]
    const delivery: BudgetAlert['delivery'] =
      problem === undefined ? 'delivered' : wait === undefined ? 'failed' : 'pending'
    this.#sql.all(
      "UPDATE alerts SET delivery = ?, attempts = attempts + 1, problem = ?, next_at = ? WHERE id = ? AND delivery = 'pending'",
      ...[delivery, problem ?? null, now + (wait ?? 0), id],
    )
  }
}

const alertOf = ({ most: limit, ...row }: Row): BudgetAlert => BudgetAlert.parse({ ...row, limit })
