import { FileId } from '../../shared/api/files.ts'
import { JobId } from '../../shared/api/fine-tuning.ts'
import { TenantId } from '../../shared/ids.ts'
import { checkpointKey, fileKey } from '../store/bucket-keys.ts'
import type { Sql } from '../store/sql.ts'

/**
 * The tenant whose files and jobs these are. A deleted tenant's name may be given to a new one, which has none of the
 * old one's files and jobs.
 */
export class Tenancy {
  readonly #sql: Sql

  constructor(sql: Sql) {
    this.#sql = sql
  }

  /**
   * Says when the tenant was created; null where it was deleted. Another tenancy than before removes all there is. The
   * first tenancy takes what there is.
   */
  set(tenant: TenantId, began: number | null): void {
    const [before] = this.#sql.all<{ began: number | null }>('SELECT began FROM tenancy')
    if (before?.began === began) return
    this.#sql.atomically(() => {
      this.#sql.all(
        'INSERT INTO tenancy VALUES (1, ?) ON CONFLICT DO UPDATE SET began = excluded.began',
        began,
      )
      if (before === undefined && began !== null) return
      for (const key of [...this.#fileKeys(tenant), ...this.#checkpointKeys(tenant)])
        this.#sql.all('INSERT OR IGNORE INTO removals VALUES (?)', key)
      for (const table of ['files', 'past_files', 'file_uploads', 'jobs', 'events', 'checkpoints', 'trained'])
        this.#sql.all(`DELETE FROM ${table}`)
    })
  }

  /** Whether a tenant that was created then has these: not once it was deleted, whoever has its name by now. */
  isRunning(began: number | null): boolean {
    const [running] = this.#sql.all<{ began: number | null }>('SELECT began FROM tenancy')
    return running === undefined || began === null || running.began === began
  }

  /** Whose these are; undefined before the first job. */
  get tenant(): TenantId | undefined {
    const [owner] = this.#sql.all<{ tenant: string }>('SELECT tenant FROM owner')
    return owner && TenantId.parse(owner.tenant)
  }

  set tenant(tenant: TenantId) {
    this.#sql.all('INSERT OR IGNORE INTO owner VALUES (1, ?)', tenant)
  }

  /** Keys of the bucket that are to be deleted. */
  removals(limit: number): readonly string[] {
    return this.#sql.all<{ key: string }>('SELECT key FROM removals LIMIT ?', limit).map(({ key }) => key)
  }

  removed(keys: readonly string[]): void {
    for (const key of keys) this.#sql.all('DELETE FROM removals WHERE key = ?', key)
  }

  #fileKeys(tenant: TenantId): string[] {
    return this.#sql
      .all<{ id: string }>('SELECT id FROM files UNION SELECT id FROM file_uploads')
      .map(({ id }) => fileKey(tenant, FileId.parse(id)))
  }

  #checkpointKeys(tenant: TenantId): string[] {
    return this.#sql
      .all<{ job: string; step: number; fence: number }>('SELECT job, step, fence FROM checkpoints')
      .map(({ job, ...at }) => checkpointKey(tenant, JobId.parse(job), at))
  }
}
