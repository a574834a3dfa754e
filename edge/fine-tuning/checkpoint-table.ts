import type { JobId } from '../../shared/api/fine-tuning.ts'
import type { Sql } from '../store/sql.ts'

export interface Checkpoint {
  readonly step: number
  readonly at: number
  readonly validLoss: number | null
  /** The fence of the trainer that wrote it. Its bytes are stored under that fence. */
  readonly fence: number
}

/** The checkpoints of a tenant's jobs; their bytes lie in the bucket. */
export class CheckpointTable {
  readonly #sql: Sql

  constructor(sql: Sql) {
    this.#sql = sql
  }

  add(job: JobId, { fence, step, validLoss }: Omit<Checkpoint, 'at'>): void {
    this.#sql.all(
      'INSERT OR REPLACE INTO checkpoints (job, step, at, valid_loss, fence) VALUES (?, ?, ?, ?, ?)',
      ...[job, step, Math.floor(Date.now() / 1_000), validLoss, fence],
    )
  }

  /** Forgets those of a job. */
  clear(job: JobId): void {
    this.#sql.all('DELETE FROM checkpoints WHERE job = ?', job)
  }

  /** The checkpoints of a job, latest first. */
  list(job: JobId): readonly Checkpoint[] {
    return this.#sql
      .all<{ step: number; at: number; valid_loss: number | null; fence: number }>(
        'SELECT step, at, valid_loss, fence FROM checkpoints WHERE job = ? ORDER BY step DESC',
        job,
      )
      .map(({ at, fence, step, valid_loss: validLoss }) => ({ at, fence, step, validLoss }))
  }
}
