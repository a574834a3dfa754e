import { shadowSchema } from './shadow-table.ts'
import { trialSchema } from './trial-table.ts'

const usageColumns = `
  day TEXT NOT NULL, key TEXT NOT NULL, model TEXT NOT NULL,
  requests INTEGER NOT NULL, errors INTEGER NOT NULL, prompt INTEGER NOT NULL,
  cached INTEGER NOT NULL, prompt_rows INTEGER NOT NULL, completion INTEGER NOT NULL, first_token_ms REAL NOT NULL, first_tokens TEXT NOT NULL,
  PRIMARY KEY (day, key, model)`

/** The tables of one tenant's ledger. */
export const ledgerSchema: readonly string[] = [
  `CREATE TABLE IF NOT EXISTS policy (one INTEGER PRIMARY KEY CHECK (one = 1), limits TEXT NOT NULL) STRICT`,
  // Tokens charged, by UTC day and by UTC month.
  `CREATE TABLE IF NOT EXISTS spent (period TEXT PRIMARY KEY, tokens INTEGER NOT NULL) STRICT`,
  // Room that isolates hold: granted, less what is charged, left over from what is charged, or returned.
  `CREATE TABLE IF NOT EXISTS leases (
    id TEXT PRIMARY KEY, holder TEXT NOT NULL, day TEXT NOT NULL, tokens INTEGER NOT NULL, slots INTEGER NOT NULL,
    expires_at INTEGER NOT NULL
  ) STRICT`,
  // Room given out of the running minute.
  `CREATE TABLE IF NOT EXISTS allowance (
    one INTEGER PRIMARY KEY CHECK (one = 1), minute INTEGER NOT NULL, requests INTEGER NOT NULL, tokens INTEGER NOT NULL
  ) STRICT`,
  // Answers to exchanges, so that one sent twice counts once.
  `CREATE TABLE IF NOT EXISTS exchanges (id TEXT PRIMARY KEY, answer TEXT NOT NULL, at INTEGER NOT NULL) STRICT`,
  `CREATE INDEX IF NOT EXISTS exchanges_at ON exchanges (at)`,
  // The charge of each choice, so that it is charged once.
  `CREATE TABLE IF NOT EXISTS charges (
    choice TEXT PRIMARY KEY, told_by TEXT NOT NULL, prompt INTEGER NOT NULL,
    cached INTEGER NOT NULL, prompt_rows INTEGER NOT NULL, completion INTEGER NOT NULL, failed INTEGER NOT NULL, timed INTEGER NOT NULL, at INTEGER NOT NULL
  ) STRICT`,
  `CREATE INDEX IF NOT EXISTS charges_at ON charges (at)`,
  `CREATE TABLE IF NOT EXISTS usage (${usageColumns}) STRICT`,
  // Usage of deleted tenants that had the same name, for operators.
  `CREATE TABLE IF NOT EXISTS past_usage (${usageColumns}) STRICT`,
  trialSchema,
  ...shadowSchema,
  // When the tenant was created.
  `CREATE TABLE IF NOT EXISTS tenancy (one INTEGER PRIMARY KEY CHECK (one = 1), began INTEGER NOT NULL) STRICT`,
]
