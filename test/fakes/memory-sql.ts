import { DatabaseSync, type StatementSync } from 'node:sqlite'
import type { Sql, SqlValue } from '../../edge/store/sql.ts'

/** SQLite in memory, for the ledger of a tenant's budget outside workerd. */
export function memorySql(): Sql {
  const database = new DatabaseSync(':memory:')
  const statements = new Map<string, StatementSync>()
  const prepared = (query: string) => {
    const statement = statements.get(query) ?? database.prepare(query)
    statements.set(query, statement)
    return statement
  }
  return {
    all: <Row extends Record<string, SqlValue>>(query: string, ...values: SqlValue[]) =>
      prepared(query).all(...values) as Row[],
    atomically(work) {
      database.exec('BEGIN')
      try {
        const result = work()
        database.exec('COMMIT')
        return result
      } catch (thrown) {
        database.exec('ROLLBACK')
        throw thrown
      }
    },
  }
}
