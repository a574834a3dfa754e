/** The tables of one tenant's files and fine-tuning jobs. */
export const jobSchema: readonly string[] = [
  `CREATE TABLE IF NOT EXISTS files (
    id TEXT PRIMARY KEY, filename TEXT NOT NULL, purpose TEXT NOT NULL, bytes INTEGER NOT NULL, lines INTEGER NOT NULL,
    created_at INTEGER NOT NULL, token_counts TEXT
  ) STRICT`,
  // Where files stood in the list that were deleted of late: somebody may be reading it in pages.
  'CREATE TABLE IF NOT EXISTS past_files (seq INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL, place INTEGER NOT NULL) STRICT',
  // Uploads that have taken room and not ended yet.
  `CREATE TABLE IF NOT EXISTS file_uploads (id TEXT PRIMARY KEY, bytes INTEGER NOT NULL, began_at INTEGER NOT NULL) STRICT`,
  `CREATE TABLE IF NOT EXISTS jobs (
    id TEXT PRIMARY KEY, created_at INTEGER NOT NULL, spec TEXT NOT NULL, status TEXT NOT NULL,
    fence INTEGER NOT NULL DEFAULT 0, step INTEGER, steps INTEGER, planned_tokens INTEGER NOT NULL DEFAULT 0,
    trained_tokens INTEGER, estimated_finish INTEGER, finished_at INTEGER, error TEXT, adapter TEXT,
    fine_tuned_model TEXT, evaluation TEXT, publishing_at INTEGER, published TEXT
  ) STRICT`,
  `CREATE TABLE IF NOT EXISTS events (
    seq INTEGER PRIMARY KEY AUTOINCREMENT, job TEXT NOT NULL, at INTEGER NOT NULL, level TEXT NOT NULL, type TEXT NOT NULL,
    message TEXT NOT NULL, data TEXT NOT NULL
  ) STRICT`,
  `CREATE INDEX IF NOT EXISTS events_job ON events (job, seq)`,
  `CREATE TABLE IF NOT EXISTS checkpoints (
    job TEXT NOT NULL, step INTEGER NOT NULL, at INTEGER NOT NULL, valid_loss REAL, fence INTEGER NOT NULL, PRIMARY KEY (job, step)
  ) STRICT`,
  'CREATE TABLE IF NOT EXISTS failed_tries (job TEXT PRIMARY KEY, count INTEGER NOT NULL) STRICT',
  // When the tenant was created whose all this is; null where it was deleted.
  'CREATE TABLE IF NOT EXISTS tenancy (one INTEGER PRIMARY KEY CHECK (one = 1), began INTEGER) STRICT',
  // Whose jobs these are.
  'CREATE TABLE IF NOT EXISTS owner (one INTEGER PRIMARY KEY CHECK (one = 1), tenant TEXT NOT NULL) STRICT',
  // Keys of the bucket that nobody needs any more.
  'CREATE TABLE IF NOT EXISTS removals (key TEXT PRIMARY KEY) STRICT',
  // Tokens trained, by UTC month.
  `CREATE TABLE IF NOT EXISTS trained (month TEXT PRIMARY KEY, tokens INTEGER NOT NULL) STRICT`,
]
