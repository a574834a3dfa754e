/** SQLite of a Durable Object, or in memory. */
export interface Sql {
  all<Row extends Record<string, SqlValue>>(query: string, ...values: SqlValue[]): Row[]
  /** Runs `work` so that all of what it writes stays, or, when it throws, nothing. */
  atomically<T>(work: () => T): T
}

export type SqlValue = string | number | null
