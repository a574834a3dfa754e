import type { CanaryReport, CanarySide } from '../../shared/api/deployments.ts'
import type { Sql } from '../store/sql.ts'

/** A request to an alias that has a canary: the alias's version then, and the side that answered. */
export interface Trial {
  readonly version: number
  readonly side: CanarySide
}

/** Counts of a canary are kept for so long after its last request. */
const keptMs = 90 * 86_400_000

export const trialSchema = `CREATE TABLE IF NOT EXISTS trials (
  alias TEXT NOT NULL, version INTEGER NOT NULL, side TEXT NOT NULL, requests INTEGER NOT NULL, errors INTEGER NOT NULL,
  prompt INTEGER NOT NULL, completion INTEGER NOT NULL, first_token_ms REAL NOT NULL, first_tokens INTEGER NOT NULL,
  at INTEGER NOT NULL, PRIMARY KEY (alias, version, side)
) STRICT`

interface TrialDelta extends Trial {
  readonly alias: string
  readonly requests: number
  readonly errors: number
  readonly prompt: number
  readonly completion: number
  readonly firstTokenMs: number | null
}

/** Adds to the counts of a side. */
export function recordTrial(sql: Sql, { alias, firstTokenMs, side, version, ...delta }: TrialDelta): void {
  const now = Date.now()
  sql.all('DELETE FROM trials WHERE at < ?', now - keptMs)
  sql.all(
    `INSERT INTO trials VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET
     requests = requests + excluded.requests, errors = errors + excluded.errors, prompt = prompt + excluded.prompt,
     completion = completion + excluded.completion, first_token_ms = first_token_ms + excluded.first_token_ms,
     first_tokens = first_tokens + excluded.first_tokens, at = excluded.at`,
    ...[alias, version, side, delta.requests, delta.errors, delta.prompt, delta.completion],
    ...[firstTokenMs ?? 0, firstTokenMs === null ? 0 : 1, now],
  )
}

/** A budget's clock and that of the tenant's directory may differ by so much. */
const clocksDifferMs = 60_000

/**
 * The counts of both sides from a version of the alias on, which began at `at`. What is older is of another alias that had
 * this name so long ago that its versions are forgotten.
 */
export function readTrials(
  sql: Sql,
  {
    alias,
    since,
  }: { readonly alias: string; readonly since: { readonly version: number; readonly at: number } },
): Pick<CanaryReport, CanarySide> {
  const rows = sql.all<{
    side: string
    requests: number
    errors: number
    prompt: number
    completion: number
    ms: number
    timed: number
  }>(
    `SELECT side, SUM(requests) AS requests, SUM(errors) AS errors, SUM(prompt) AS prompt, SUM(completion) AS completion,
     SUM(first_token_ms) AS ms, SUM(first_tokens) AS timed FROM trials
     WHERE alias = ? AND version >= ? AND at >= ? GROUP BY side`,
    ...[alias, since.version, since.at - clocksDifferMs],
  )
  const of = (side: CanarySide): CanaryReport[CanarySide] => {
    const row = rows.find((each) => each.side === side)
    return {
      requests: row?.requests ?? 0,
      errors: row?.errors ?? 0,
      prompt_tokens: row?.prompt ?? 0,
      completion_tokens: row?.completion ?? 0,
      first_token_ms: row === undefined || row.timed === 0 ? null : Math.round(row.ms / row.timed),
    }
  }
  return { stable: of('stable'), canary: of('canary') }
}
