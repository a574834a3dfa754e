import type { FileObject } from '../../shared/api/files.ts'
import type { JobId, JobStatus } from '../../shared/api/fine-tuning.ts'
import type { AdapterDigest } from '../../shared/ids.ts'
import type { TrainerOrder, TrainerReport } from '../../shared/training/trainer-protocol.ts'
import { type Outcome, ok, refuse } from '../directory/outcome.ts'
import type { Sql } from '../store/sql.ts'
import { type Checkpoint, CheckpointTable } from './checkpoint-table.ts'
import { EventTable, message, metricsEvent } from './event-table.ts'
import { FailedTryTable } from './failed-try-table.ts'
import { FileTable } from './file-table.ts'
import { JobFailures } from './job-failures.ts'
import { jobSchema } from './job-schema.ts'
import { checkFiles, type JobSpec } from './job-spec.ts'
import { isEndedJob, type JobRecord, JobTable } from './job-table.ts'
import { Tenancy } from './tenancy.ts'
import { monthNow, TrainedTable } from './trained-table.ts'
import { warningOf } from './verdict.ts'

const maxUnended = 50
/** A trainer that has not continued to publish for this long has died: its job may be cancelled again. */
const publishSeconds = 60

const seconds = (): number => Math.floor(Date.now() / 1_000)

/** The answer to a trainer's report. */
export interface ReportAnswer extends TrainerOrder {
  /** The month's training tokens do not suffice for the job. */
  readonly isOverBudget?: true
  /** How long the job waits until another trainer may have it. */
  readonly waitMs?: number
}

/** A trainer with the lease of a job trains it, or leaves it, and the job waits for a while. */
export type Begun =
  | { readonly type: 'train'; readonly job: JobRecord; readonly checkpoint: Checkpoint | undefined }
  | { readonly type: 'wait'; readonly waitMs: number }

/** A claim or report of the trainer that holds a job's lease. */
export interface TrainerHold {
  readonly job: JobId
  /** If two trainers claim the job, the one with the higher fence has it. */
  readonly fence: number
}

/** A trainer's last report. `unaliased`: why the alias that the job is due could not be pointed. */
export type Success = Extract<TrainerReport, { type: 'succeeded' }> & { readonly unaliased?: string }

/**
 * One tenant's files and fine-tuning jobs: every change of a job's status, in one place. A trainer may act only under
 * the fence of its lease.
 */
export class JobBook {
  readonly #sql: Sql
  readonly jobs: JobTable
  readonly events: EventTable
  readonly files: FileTable
  readonly checkpoints: CheckpointTable
  readonly trained: TrainedTable
  readonly tenancy: Tenancy
  readonly #failures: JobFailures

  constructor(sql: Sql) {
    for (const statement of jobSchema) sql.all(statement)
    this.#sql = sql
    this.jobs = new JobTable(sql)
    this.events = new EventTable(sql)
    this.files = new FileTable(sql)
    this.checkpoints = new CheckpointTable(sql)
    this.trained = new TrainedTable(sql)
    this.tenancy = new Tenancy(sql)
    const { events, jobs, trained } = this
    this.#failures = new JobFailures({ events, jobs, trained, failedTries: new FailedTryTable(sql) })
  }

  /** A new job, queued. Throws nothing; refuses with `not_found` and `conflict`. */
  create(id: JobId, spec: JobSpec): Outcome<JobRecord> {
    const files = checkFiles(spec, this.files)
    if (!files.ok) return files
    if (this.jobs.unended().length >= maxUnended)
      return refuse('conflict', `at most ${maxUnended} jobs may wait and run at once; cancel some or wait`)
    return this.#sql.atomically(() => {
      this.jobs.add(id, spec)
      this.jobs.change(id, { status: 'queued' })
      this.events.add(id, [
        message(`Created fine-tuning job: ${id}`),
        message(`Validating training file: ${spec.trainingFile}`),
        message('Files validated, moving job to queued state'),
      ])
      return ok(this.#require(id))
    })
  }

  cancel(id: JobId): Outcome<JobRecord> {
    return this.#move(id, {
      from: ['queued', 'running', 'paused'],
      to: 'cancelled',
      says: 'The job was cancelled',
    })
  }

  pause(id: JobId): Outcome<JobRecord> {
    return this.#move(id, { from: ['queued', 'running'], to: 'paused', says: 'The job was paused' })
  }

  resume(id: JobId): Outcome<JobRecord> {
    return this.#move(id, { from: ['paused'], to: 'queued', says: 'The job was resumed' })
  }

  /** A trainer has the job's lease: from now on only it may report. Undefined where there is nothing to train. */
  begin({ fence, job: id }: TrainerHold): Begun | undefined {
    const job = this.jobs.find(id)
    if (job === undefined || fence <= job.fence || (job.status !== 'queued' && job.status !== 'running'))
      return undefined
    return this.#sql.atomically(() => {
      if (job.status === 'running') {
        const left = this.#failures.tryAgain(job, 'A trainer vanished with the job')
        if (left === undefined) return undefined
        // The first one may have been a machine that was switched off.
        if (left.count > 1) return { type: 'wait', waitMs: left.waitMs }
      }
      const checkpoint = this.checkpoints.list(id)[0]
      const expected = job.spec.estimate?.seconds
      this.jobs.change(id, {
        status: 'running',
        fence,
        publishingAt: null,
        published: null,
        ...(expected === undefined ? {} : { estimatedFinish: seconds() + expected }),
      })
      this.events.add(id, [
        message(
          checkpoint === undefined
            ? 'Fine-tuning job started'
            : `Going on from the checkpoint of step ${checkpoint.step}`,
        ),
      ])
      return { type: 'train', job: this.#require(id), checkpoint }
    })
  }

  /** Whether the trainer still has the job. Refuses with `conflict` where another one has it. */
  holds({ fence, job: id }: TrainerHold): Outcome<JobRecord> {
    const job = this.jobs.find(id)
    if (job === undefined) return refuse('not_found', `no job ${id}`)
    return job.fence === fence
      ? ok(job)
      : refuse('conflict', 'another trainer has this job now; drop it and claim other work')
  }

  /** Takes a trainer's report and says how to go on. `limit`: tokens that may be trained in a month. */
  report(hold: TrainerHold, report: TrainerReport, limit: number | null): Outcome<ReportAnswer> {
    const held = this.holds(hold)
    if (!held.ok) return held
    const job = held.value
    if (job.status !== 'running') return ok({ order: job.status === 'paused' ? 'pause' : 'stop' })
    return this.#sql.atomically(() => ok(this.#take(job, report, limit)))
  }

  #take(job: JobRecord, report: TrainerReport, limit: number | null): ReportAnswer {
    const { id } = job
    switch (report.type) {
      case 'planned': {
        const { examples, steps, tokens, validationTrainedOn = 0 } = report
        const left =
          limit === null ? null : limit - this.trained.inMonth(monthNow()) - this.jobs.plannedBeside(id)
        if (left !== null && tokens > left) {
          this.#failures.fail(job, {
            code: 'budget_exhausted',
            message: `the job trains ${tokens} tokens, and ${Math.max(0, left)} of this month's ${limit} are left; use fewer epochs or examples, or ask the operator for more`,
            param: null,
          })
          return { order: 'stop', isOverBudget: true }
        }
        this.jobs.change(id, { plannedTokens: tokens, progress: { step: job.progress?.step ?? 0, steps } })
        this.events.add(id, [
          ...(validationTrainedOn === 0
            ? []
            : [
                message(
                  `Not measured on ${validationTrainedOn} of the validation file's examples, whose prompts are trained on`,
                  'warn',
                ),
              ]),
          message(`Training on ${examples} examples: ${steps} steps, ${tokens} tokens`),
        ])
        return { order: 'continue' }
      }
      case 'progress': {
        const { metrics, secondsLeft, step, trainedTokens } = report
        this.jobs.change(id, {
          progress: { step, steps: job.progress?.steps ?? step },
          trainedTokens: Math.max(trainedTokens, job.trainedTokens ?? 0),
          ...(secondsLeft === null ? {} : { estimatedFinish: Math.floor(seconds() + secondsLeft) }),
        })
        this.events.addLosses(
          id,
          metrics.map((each) => metricsEvent(each, job.progress?.steps)),
        )
        return { order: 'continue' }
      }
      case 'failed':
        this.#failures.fail(job, { code: report.code, message: report.message, param: report.param })
        return { order: 'stop' }
      case 'restarted':
        this.checkpoints.clear(id)
        this.events.add(id, [message(`Training begins anew: ${report.reason}`, 'warn')])
        return { order: 'continue' }
      case 'released':
        if (report.why === 'failed') {
          const left = this.#failures.tryAgain(job, 'The trainer failed at the job')
          return { order: 'stop', ...(left && { waitMs: left.waitMs }) }
        }
        this.jobs.change(id, { status: 'queued' })
        this.events.add(id, [message('The trainer stopped; the job waits for another one')])
        return { order: 'stop' }
      case 'succeeded':
        // The adapter is published and the alias pointed before this is called (`succeed`).
        return { order: 'stop' }
    }
  }

  /**
   * The trainer begins to publish its result, or goes on with it: from now on the job is neither cancelled nor paused.
   * `adapter`: the one that is published by now. Refuses with `conflict`.
   */
  publish(hold: TrainerHold, adapter: AdapterDigest | undefined): Outcome<JobRecord> {
    const held = this.holds(hold)
    if (!held.ok) return held
    const { id, published, status } = held.value
    if (status !== 'running') return refuse('conflict', `the job is ${status}; drop it and claim other work`)
    this.jobs.change(id, { publishingAt: seconds(), published: adapter ?? published })
    return ok(this.#require(id))
  }

  /** The adapter is published: the job has succeeded. `alias` is null where none was pointed. */
  succeed(
    hold: TrainerHold,
    { adapter, evaluation, trainedTokens, unaliased }: Success,
    alias: string | null,
  ): Outcome<TrainerOrder> {
    const held = this.holds(hold)
    if (!held.ok) return held
    const job = held.value
    if (job.status === 'succeeded') return ok({ order: 'stop' })
    if (job.status !== 'running') return ok({ order: job.status === 'paused' ? 'pause' : 'stop' })
    const warning = warningOf(evaluation, { isAliased: alias !== null })
    const refusal = unaliased === undefined ? undefined : `No alias points to the adapter: ${unaliased}`
    return this.#sql.atomically(() => {
      this.trained.add(trainedTokens)
      this.jobs.change(job.id, {
        status: 'succeeded',
        adapter,
        evaluation,
        trainedTokens,
        plannedTokens: 0,
        fineTunedModel: alias,
        progress: job.progress === null ? null : { ...job.progress, step: job.progress.steps },
      })
      this.events.add(job.id, [
        ...[warning, refusal].flatMap((says) => (says === undefined ? [] : [message(says, 'warn')])),
        ...(evaluation.answers_error == null
          ? []
          : [message(`The models' answers were not compared: ${evaluation.answers_error}`, 'warn')]),
        message(
          alias === null ? `New adapter published: ${adapter}` : `New fine-tuned model created: ${alias}`,
        ),
        message('The job has successfully completed'),
      ])
      return ok({ order: 'stop' })
    })
  }

  addCheckpoint(hold: TrainerHold, checkpoint: Omit<Checkpoint, 'at'>): Outcome<null> {
    const held = this.holds(hold)
    if (!held.ok) return held
    this.checkpoints.add(hold.job, checkpoint)
    this.#failures.forget(hold.job)
    return ok(null)
  }

  /** Refuses with `conflict` where a job that has not ended reads it. */
  removeFile(id: FileObject['id']): Outcome<FileObject> {
    const file = this.files.find(id)
    if (file === undefined) return refuse('not_found', `this tenant has no file ${id}`)
    const reader = this.jobs
      .unended()
      .find(({ spec }) => spec.trainingFile === id || spec.validationFile === id)
    if (reader !== undefined)
      return refuse('conflict', `the job ${reader.id} reads this file; cancel the job or wait for its end`)
    this.files.remove(id)
    return ok(file)
  }

  #move(
    id: JobId,
    {
      from,
      says,
      to,
    }: { readonly from: readonly JobStatus[]; readonly to: JobStatus; readonly says: string },
  ): Outcome<JobRecord> {
    const job = this.jobs.find(id)
    if (job === undefined) return refuse('not_found', `this tenant has no fine-tuning job ${id}`)
    if (job.status === to) return ok(job)
    if (!from.includes(job.status))
      return refuse(
        'conflict',
        `the job is ${job.status}; it can only become ${to} while it is ${from.join(' or ')}`,
      )
    const { publishingAt } = job
    if (job.status === 'running' && publishingAt !== null && publishingAt + publishSeconds > seconds())
      return refuse(
        'conflict',
        'the job is done and its adapter is being published, which takes a moment; delete its alias and its adapter afterwards if you do not want them',
      )
    return this.#sql.atomically(() => {
      if (isEndedJob(to)) this.trained.add(job.trainedTokens ?? 0)
      this.jobs.change(id, { status: to, ...(isEndedJob(to) ? { plannedTokens: 0 } : {}) })
      this.events.add(id, [message(says)])
      return ok(this.#require(id))
    })
  }

  #require(id: JobId): JobRecord {
    const job = this.jobs.find(id)
    if (job === undefined) throw new Error(`the job ${id} is gone`)
    return job
  }
}
