import type { Sql } from './sql.ts'

/** A Durable Object's SQLite. */
export function durableSql(storage: DurableObjectStorage): Sql {
  return {
    all: <Row extends Record<string, string | number | null>>(
      query: string,
      ...values: (string | number | null)[]
    ) => storage.sql.exec<Row>(query, ...values).toArray(),
    atomically: (work) => storage.transactionSync(work),
  }
}
