import type { UsageRow } from './api/usage.ts'

const columns: Readonly<Record<string, (row: UsageRow) => string | number | null>> = {
  day: ({ day }) => day,
  tenant: ({ tenant }) => tenant,
  key: ({ key }) => key,
  model: ({ model }) => model,
  requests: ({ requests }) => requests,
  errors: ({ errors }) => errors,
  prompt_tokens: ({ prompt_tokens }) => prompt_tokens,
  prompt_rows: ({ prompt_rows }) => prompt_rows,
  completion_tokens: ({ completion_tokens }) => completion_tokens,
  total_tokens: ({ total_tokens }) => total_tokens,
  shadow_tokens: ({ shadow_tokens }) => shadow_tokens,
  first_token_count: (row) => row.first_token_ms.count,
  first_token_ms_mean: (row) => row.first_token_ms.mean,
  first_token_ms_p50: (row) => row.first_token_ms.p50,
  first_token_ms_p95: (row) => row.first_token_ms.p95,
  first_token_ms_p99: (row) => row.first_token_ms.p99,
}

/** Comma-separated values with a header (RFC 4180). No value has a comma, a quote or a line break: ids and numbers. */
export function usageCsv(rows: readonly UsageRow[]): string {
  const lines = rows.map((row) => Object.values(columns).map((read) => String(read(row) ?? '')))
  return [Object.keys(columns), ...lines].map((cells) => `${cells.join(',')}\r\n`).join('')
}
