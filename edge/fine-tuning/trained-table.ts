import type { Sql } from '../store/sql.ts'

/** The running UTC month, such as `2026-11`. */
export const monthNow = (): string => new Date().toISOString().slice(0, 7)

/** Tokens that a tenant's jobs have trained, by UTC month. */
export class TrainedTable {
  readonly #sql: Sql

  constructor(sql: Sql) {
    this.#sql = sql
  }

  /** Counts tokens in the running month. */
  add(tokens: number): void {
    this.#sql.all(
      'INSERT INTO trained (month, tokens) VALUES (?, ?) ON CONFLICT (month) DO UPDATE SET tokens = tokens + excluded.tokens',
      ...[monthNow(), tokens],
    )
  }

  inMonth(month: string): number {
    return (
      this.#sql.all<{ tokens: number }>('SELECT tokens FROM trained WHERE month = ?', month)[0]?.tokens ?? 0
    )
  }
}
