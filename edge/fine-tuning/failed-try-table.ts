import type { JobId } from '../../shared/api/fine-tuning.ts'
import type { Sql } from '../store/sql.ts'

/** So many trainers in a row may fail at a job: with the waits between them that takes six hours. */
export const maxFailedTries = 12
const firstWaitMs = 60_000
const longestWaitMs = 3_600_000

/**
 * How many trainers in a row failed at each job, or vanished with it, since the last of its checkpoints. A job may be at
 * fault, as one that takes more memory than its trainer has; or the trainer, whose operator has some hours to mend it.
 */
export class FailedTryTable {
  readonly #sql: Sql

  constructor(sql: Sql) {
    this.#sql = sql
  }

  /** Counts another one. How long the job waits for the next try, each time twice as long; null where there is none. */
  add(job: JobId): { readonly count: number; readonly waitMs: number | null } {
    const [row] = this.#sql.all<{ count: number }>(
      'INSERT INTO failed_tries VALUES (?, 1) ON CONFLICT (job) DO UPDATE SET count = count + 1 RETURNING count',
      job,
    )
    const count = row?.count ?? 1
    const waitMs = Math.min(longestWaitMs, firstWaitMs * 2 ** (count - 1))
    return { count, waitMs: count < maxFailedTries ? waitMs : null }
  }

  /** The job has gone on. */
  clear(job: JobId): void {
    this.#sql.all('DELETE FROM failed_tries WHERE job = ?', job)
  }
}
