import type { Sql } from '../store/sql.ts'

/** A deleted tenant's name may be given to a new one. The old one's spending and usage do not count for the new one. */

/** Whether another tenancy was told before; does nothing in the running one, nor in the first that is told. */
export function beginTenancy(sql: Sql, tenancy: number): boolean {
  const before = runningTenancy(sql)
  if (before === tenancy) return false
  sql.all('INSERT INTO tenancy VALUES (1, ?) ON CONFLICT DO UPDATE SET began = excluded.began', tenancy)
  if (before === undefined) return false
  for (const table of ['spent', 'leases', 'allowance', 'trials', 'shadow_spent', 'shadows_running'])
    sql.all(`DELETE FROM ${table}`)
  sql.all('INSERT INTO past_usage SELECT * FROM usage')
  sql.all('DELETE FROM usage')
  return true
}

/** Whether a charge is the running tenant's. It is if the terms names no tenancy. */
export function isOfRunningTenancy(sql: Sql, tenancy: number | null): boolean {
  const running = runningTenancy(sql)
  return tenancy === null || running === undefined || running === tenancy
}

function runningTenancy(sql: Sql): number | undefined {
  return sql.all<{ began: number }>('SELECT began FROM tenancy')[0]?.began
}
