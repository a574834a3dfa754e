/** Each step is applied once, in order; a change of the tables is a new step. */
const steps = [
  `
  CREATE TABLE IF NOT EXISTS tenant (id TEXT PRIMARY KEY, created_at INTEGER NOT NULL) STRICT;
  CREATE TABLE IF NOT EXISTS keys (
    id TEXT PRIMARY KEY, sha256 TEXT NOT NULL UNIQUE, name TEXT NOT NULL, created_at INTEGER NOT NULL
  ) STRICT;
  CREATE TABLE IF NOT EXISTS adapters (
    digest TEXT PRIMARY KEY, backbone TEXT NOT NULL, kind TEXT NOT NULL, rows INTEGER NOT NULL,
    bytes INTEGER NOT NULL, created_at INTEGER NOT NULL
  ) STRICT;
  CREATE TABLE IF NOT EXISTS aliases (
    alias TEXT PRIMARY KEY, digest TEXT NOT NULL REFERENCES adapters (digest), updated_at INTEGER NOT NULL
  ) STRICT;
  `,
  `
  ALTER TABLE tenant ADD COLUMN version INTEGER NOT NULL DEFAULT 1;
  ALTER TABLE tenant ADD COLUMN status TEXT NOT NULL DEFAULT 'active';
  ALTER TABLE tenant ADD COLUMN policy TEXT NOT NULL DEFAULT '{}';
  ALTER TABLE keys ADD COLUMN expires_at INTEGER;
  ALTER TABLE adapters ADD COLUMN parts TEXT;
  ALTER TABLE aliases ADD COLUMN version INTEGER NOT NULL DEFAULT 1;
  ALTER TABLE aliases ADD COLUMN canary TEXT;
  CREATE TABLE deployments (
    alias TEXT NOT NULL, version INTEGER NOT NULL, action TEXT NOT NULL, digest TEXT, canary TEXT,
    by TEXT NOT NULL, at INTEGER NOT NULL, PRIMARY KEY (alias, version)
  ) STRICT;
  INSERT INTO deployments SELECT alias, 1, 'deploy', digest, NULL, 'admin', updated_at FROM aliases;
  CREATE TABLE uploads (id TEXT PRIMARY KEY, digest TEXT, bytes INTEGER NOT NULL, started_at INTEGER NOT NULL) STRICT;
  CREATE TABLE removals (key TEXT PRIMARY KEY) STRICT;
  CREATE TABLE pending (
    seq INTEGER PRIMARY KEY AUTOINCREMENT, kind TEXT NOT NULL, id TEXT NOT NULL, published INTEGER NOT NULL DEFAULT 0
  ) STRICT;
  INSERT INTO pending (kind, id) SELECT 'tenant', id FROM tenant;
  INSERT INTO pending (kind, id) SELECT 'policy', id FROM tenant;
  `,
  `
  CREATE TABLE past_aliases (seq INTEGER PRIMARY KEY AUTOINCREMENT, alias TEXT NOT NULL UNIQUE) STRICT;
  INSERT INTO past_aliases (alias) SELECT alias FROM deployments
    WHERE alias NOT IN (SELECT alias FROM aliases) GROUP BY alias ORDER BY MAX(at);
  `,
  'ALTER TABLE keys ADD COLUMN scopes TEXT;',
]

/** Brings a directory's tables up to date. Returns whether anything was changed. */
export function migrate(storage: DurableObjectStorage): boolean {
  const { sql } = storage
  sql.exec('CREATE TABLE IF NOT EXISTS applied (step INTEGER PRIMARY KEY) STRICT')
  const done = sql.exec<{ count: number }>('SELECT COUNT(*) AS count FROM applied').one().count
  if (done === steps.length) return false
  storage.transactionSync(() => {
    for (const [at, step] of steps.entries()) {
      if (at < done) continue
      sql.exec(step)
      sql.exec('INSERT INTO applied VALUES (?)', at)
    }
  })
  return true
}
