import type { Sql } from '../store/sql.ts'
import { readHistogram } from './first-token.ts'

/** UTC days, both included. */
export interface UsageRange {
  readonly from: string
  readonly to: string
}

/** A tenant's usage on one UTC day with one key and one model. */
export interface DayUsage {
  readonly day: string
  readonly key: string
  readonly model: string
  readonly requests: number
  readonly errors: number
  readonly promptTokens: number
  /** Prompt tokens among them that an earlier request had run. */
  readonly cachedTokens: number
  /** Rows that adapters put in front of prompts. */
  readonly promptRows: number
  readonly completionTokens: number
  /** Tokens and rows that shadows ran beside them. */
  readonly shadowTokens: number
  /** Milliseconds to first token: their sum, and how many fall into each bucket (first-token.ts). */
  readonly firstToken: { readonly sumMs: number; readonly buckets: number[] }
}

export interface UsagePage extends UsageRange {
  /** The last row of the page before. */
  readonly after: Pick<DayUsage, 'day' | 'key' | 'model'> | null
  readonly limit: number
  /** Rows of this tenant, or of deleted ones of its name as well. */
  readonly of: 'tenant' | 'name'
}

/** Returns rows in the order of day, key and model. */
export function readUsage(sql: Sql, { after, from, limit, of, to }: UsagePage): DayUsage[] {
  return sql
    .all<{
      day: string
      key: string
      model: string
      requests: number
      errors: number
      prompt: number
      cached: number
      prompt_rows: number
      completion: number
      first_token_ms: number
      first_tokens: string
      shadow: number
    }>(
      `SELECT used.*, COALESCE(tokens, 0) AS shadow FROM
       ${of === 'tenant' ? 'usage' : '(SELECT * FROM usage UNION ALL SELECT * FROM past_usage)'} AS used
       LEFT JOIN shadow_usage USING (day, key, model) WHERE day BETWEEN ? AND ? AND (day, key, model) > (?, ?, ?)
       ORDER BY day, key, model LIMIT ?`,
      ...[from, to, after?.day ?? '', after?.key ?? '', after?.model ?? '', limit],
    )
    .map(({ cached, completion, first_token_ms, first_tokens, prompt, prompt_rows, shadow, ...row }) => ({
      ...row,
      promptTokens: prompt,
      cachedTokens: cached,
      promptRows: prompt_rows,
      completionTokens: completion,
      shadowTokens: shadow,
      firstToken: { sumMs: first_token_ms, buckets: readHistogram(first_tokens) },
    }))
}
