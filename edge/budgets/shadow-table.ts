import type { Sql } from '../store/sql.ts'
import { isOfRunningTenancy } from './tenancy.ts'

/** A shadow that wants to begin. */
export interface ShadowStart {
  readonly id: string
  /** The UTC day of the request beside which it runs. */
  readonly day: string
  /** When the tenant of that request was created. */
  readonly tenancy: number
  /** Prompt, rows and answer together take at most so many. */
  readonly tokens: number
  /** Tokens of the day; null is without limit. */
  readonly limit: number | null
}

/** What a shadow came to. It counts beside the request's row: its day, key and model. */
export interface ShadowEnd extends Pick<ShadowStart, 'id' | 'day'> {
  readonly key: string
  readonly model: string
  readonly tokens: number
}

/** Shadows of one tenant that run at once. */
const maxShadowsAtOnce = 4
/** One that began longer ago has lost its isolate; what it reserved stays spent. */
const lostMs = 120_000

export const shadowSchema: readonly string[] = [
  `CREATE TABLE IF NOT EXISTS shadow_usage (
    day TEXT NOT NULL, key TEXT NOT NULL, model TEXT NOT NULL, tokens INTEGER NOT NULL, PRIMARY KEY (day, key, model)
  ) STRICT`,
  `CREATE TABLE IF NOT EXISTS shadows_running (id TEXT PRIMARY KEY, tokens INTEGER NOT NULL, at INTEGER NOT NULL) STRICT`,
  `CREATE TABLE IF NOT EXISTS shadow_spent (day TEXT PRIMARY KEY, tokens INTEGER NOT NULL) STRICT`,
]

/**
 * Takes all that a shadow may use from its day; whether there was room for it. A deleted tenant's request has none of what
 * a new tenant of its name may use.
 */
export function beginShadow(
  sql: Sql,
  { day, id, limit, tenancy, tokens }: ShadowStart,
  now: number,
): boolean {
  return sql.atomically(() => {
    if (!isOfRunningTenancy(sql, tenancy)) return false
    sql.all('DELETE FROM shadows_running WHERE at < ?', now - lostMs)
    const [{ running } = { running: 0 }] = sql.all<{ running: number }>(
      'SELECT COUNT(*) AS running FROM shadows_running',
    )
    const [{ spent } = { spent: 0 }] = sql.all<{ spent: number }>(
      'SELECT tokens AS spent FROM shadow_spent WHERE day = ?',
      day,
    )
    if (running >= maxShadowsAtOnce || (limit !== null && spent + tokens > limit)) return false
    sql.all('INSERT INTO shadows_running VALUES (?, ?, ?)', id, tokens, now)
    spend(sql, day, tokens)
    return true
  })
}

/** Gives back what a shadow did not use, and counts what it used. The first word on it counts. */
export function endShadow(sql: Sql, { day, id, key, model, tokens }: ShadowEnd): void {
  sql.atomically(() => {
    const [begun] = sql.all<{ tokens: number }>('SELECT tokens FROM shadows_running WHERE id = ?', id)
    if (begun === undefined) return
    sql.all('DELETE FROM shadows_running WHERE id = ?', id)
    const used = Math.min(tokens, begun.tokens)
    spend(sql, day, used - begun.tokens)
    if (used === 0) return
    sql.all(
      'INSERT INTO shadow_usage VALUES (?, ?, ?, ?) ON CONFLICT DO UPDATE SET tokens = tokens + excluded.tokens',
      ...[day, key, model, used],
    )
  })
}

function spend(sql: Sql, day: string, tokens: number): void {
  sql.all(
    'INSERT INTO shadow_spent VALUES (?, ?) ON CONFLICT DO UPDATE SET tokens = tokens + excluded.tokens',
    day,
    tokens,
  )
}
