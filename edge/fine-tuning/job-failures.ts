import type { JobId } from '../../shared/api/fine-tuning.ts'
import { type EventTable, message } from './event-table.ts'
import { type FailedTryTable, maxFailedTries } from './failed-try-table.ts'
import type { JobRecord, JobTable } from './job-table.ts'
import type { TrainedTable } from './trained-table.ts'

interface Tables {
  readonly jobs: JobTable
  readonly events: EventTable
  readonly trained: TrainedTable
  readonly failedTries: FailedTryTable
}

/** Another try of a job. `count`: trainers in a row that failed at it. */
interface AnotherTry {
  readonly count: number
  readonly waitMs: number
}

/** Fails jobs, and queues those again at which a trainer failed for a reason of its own. */
export class JobFailures {
  readonly #tables: Tables

  constructor(tables: Tables) {
    this.#tables = tables
  }

  fail({ id, trainedTokens }: JobRecord, error: NonNullable<JobRecord['error']>): void {
    const { events, jobs, trained } = this.#tables
    trained.add(trainedTokens ?? 0)
    jobs.change(id, { status: 'failed', error, plannedTokens: 0 })
    events.add(id, [message(`The job failed: ${error.message}`, 'error')])
  }

  /** A trainer is done with the job, which has not gone on. It is queued again, or fails after too many: undefined. */
  tryAgain(job: JobRecord, says: string): AnotherTry | undefined {
    const { events, failedTries, jobs } = this.#tables
    const { count, waitMs } = failedTries.add(job.id)
    if (waitMs === null) {
      this.fail(job, {
        code: 'internal_error',
        message: `${maxFailedTries} trainers in a row failed at the job or vanished with it, and none kept a checkpoint; ask the operator, whose trainers' logs say why, before you create it again`,
        param: null,
      })
      return undefined
    }
    jobs.change(job.id, { status: 'queued' })
    events.add(job.id, [message(`${says}; try ${count + 1} of ${maxFailedTries} comes next`, 'warn')])
    return { count, waitMs }
  }

  /** The job has gone on: all its tries are before it again. */
  forget(job: JobId): void {
    this.#tables.failedTries.clear(job)
  }
}
