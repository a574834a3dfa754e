import type { TenantStatus } from '../../shared/api/admin.ts'
import { TenantPolicy, type TenantPolicyChange } from '../../shared/api/policy.ts'
import { TenantId } from '../../shared/ids.ts'
import type { TenantState } from '../feed/change-feed.ts'

interface Row extends Record<string, SqlStorageValue> {
  readonly id: string
  readonly created_at: number
  readonly version: number
  readonly status: TenantState['status']
}

/** So long after the feed was told of a deletion some isolate may let the tenant's keys in. */
export const deletionBoundMs = 5_000

/** The tenant itself: one row, which stays when the tenant is deleted. */
export class TenantTable {
  readonly #sql: SqlStorage

  constructor(sql: SqlStorage) {
    this.#sql = sql
  }

  /** Undefined before the first tenant of this name. */
  get state(): TenantState | undefined {
    const [row] = this.#sql.exec<Row>('SELECT * FROM tenant').toArray()
    return (
      row && {
        id: TenantId.parse(row.id),
        createdAt: row.created_at,
        version: row.version,
        status: row.status,
      }
    )
  }

  /** Undefined when there is no tenant, or no longer. */
  get id(): TenantId | undefined {
    const { state } = this
    return state?.status === 'deleted' ? undefined : state?.id
  }

  get policy(): TenantPolicy {
    const { policy } = this.#sql.exec<{ policy: string }>('SELECT policy FROM tenant').one()
    return TenantPolicy.parse(JSON.parse(policy))
  }

  /** Takes the place of a deleted tenant of the same name; its version goes on from there. */
  create({ createdAt, id, policy }: { id: TenantId; createdAt: number; policy: TenantPolicy }): void {
    const version = (this.state?.version ?? 0) + 1
    this.#sql.exec('DELETE FROM tenant')
    this.#sql.exec('DELETE FROM told_deletion')
    this.#sql.exec(
      'INSERT INTO tenant (id, created_at, version, status, policy) VALUES (?, ?, ?, ?, ?)',
      ...[id, createdAt, version, 'active', JSON.stringify(policy)],
    )
  }

  setStatus(status: TenantStatus | 'deleted'): void {
    this.#sql.exec('UPDATE tenant SET status = ?', status)
  }

  /** The feed knows that the tenant is deleted. The first time counts. */
  deletionTold(now: number): void {
    this.#sql.exec('INSERT OR IGNORE INTO told_deletion VALUES (1, ?)', now)
  }

  /** For how long nobody may have the deleted tenant's name: what its keys still do would be done to the new tenant. */
  nameTakenMs(now: number): number {
    const [told] = this.#sql.exec<{ at: number }>('SELECT at FROM told_deletion').toArray()
    const left = told === undefined ? 0 : told.at + deletionBoundMs - now
    // A clock that was set back does not hold the name.
    return left > deletionBoundMs ? 0 : Math.max(0, left)
  }

  /** Changes what it names. */
  changePolicy(change: TenantPolicyChange): void {
    const next = TenantPolicy.parse({ ...this.policy, ...change })
    this.#sql.exec('UPDATE tenant SET policy = ?', JSON.stringify(next))
  }

  /** To be called with every change of the tenant. */
  raiseVersion(): void {
    this.#sql.exec('UPDATE tenant SET version = version + 1')
  }
}
