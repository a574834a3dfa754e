import { z } from 'zod'
import { type Job, JobEvaluation, JobId, JobStatus } from '../../shared/api/fine-tuning.ts'
import { AdapterDigest } from '../../shared/ids.ts'
import type { Sql, SqlValue } from '../store/sql.ts'
import { JobSpec } from './job-spec.ts'

const seconds = (): number => Math.floor(Date.now() / 1_000)

const JobError = z.object({ code: z.string(), message: z.string(), param: z.string().nullable() })
type JobError = z.infer<typeof JobError>

/** A job as the table holds it. Times are seconds since 1970. */
export interface JobRecord {
  readonly id: JobId
  readonly createdAt: number
  readonly spec: JobSpec
  readonly status: JobStatus
  /** The fence of the trainer that has the job, or had it last. A later trainer has a higher one. */
  readonly fence: number
  readonly progress: { readonly step: number; readonly steps: number } | null
  readonly plannedTokens: number
  readonly trainedTokens: number | null
  readonly estimatedFinish: number | null
  readonly finishedAt: number | null
  readonly error: JobError | null
  readonly adapter: AdapterDigest | null
  readonly fineTunedModel: string | null
  readonly evaluation: JobEvaluation | null
  /** When its trainer last went on with publishing the result; null where none does. */
  readonly publishingAt: number | null
  /** The adapter that the trainer of this fence has published. */
  readonly published: AdapterDigest | null
}

interface Row extends Record<string, SqlValue> {
  readonly id: string
  readonly created_at: number
  readonly spec: string
  readonly status: string
  readonly fence: number
  readonly step: number | null
  readonly steps: number | null
  readonly planned_tokens: number
  readonly trained_tokens: number | null
  readonly estimated_finish: number | null
  readonly finished_at: number | null
  readonly error: string | null
  readonly adapter: string | null
  readonly fine_tuned_model: string | null
  readonly evaluation: string | null
  readonly publishing_at: number | null
  readonly published: string | null
}

const ended: ReadonlySet<JobStatus> = new Set(['succeeded', 'failed', 'cancelled'])
export const isEndedJob = (status: JobStatus): boolean => ended.has(status)

/** The fields of a job that a change may set. */
export type JobChange = Partial<Omit<JobRecord, 'id' | 'createdAt' | 'spec'>>

/** A tenant's jobs. */
export class JobTable {
  readonly #sql: Sql

  constructor(sql: Sql) {
    this.#sql = sql
  }

  add(id: JobId, spec: JobSpec): void {
    this.#sql.all(
      'INSERT INTO jobs (id, created_at, spec, status) VALUES (?, ?, ?, ?)',
      ...[id, seconds(), JSON.stringify(spec), 'validating_files' satisfies JobStatus],
    )
  }

  find(id: JobId): JobRecord | undefined {
    const [row] = this.#sql.all<Row>('SELECT * FROM jobs WHERE id = ?', id)
    return row === undefined ? undefined : recordOf(row)
  }

  /** Newest first; those behind `after`. */
  list({ after, limit }: { readonly after: JobId | undefined; readonly limit: number }): JobRecord[] {
    const rows =
      after === undefined
        ? this.#sql.all<Row>('SELECT * FROM jobs ORDER BY rowid DESC LIMIT ?', limit)
        : this.#sql.all<Row>(
            'SELECT * FROM jobs WHERE rowid < (SELECT rowid FROM jobs WHERE id = ?) ORDER BY rowid DESC LIMIT ?',
            ...[after, limit],
          )
    return rows.map(recordOf)
  }

  /** Jobs that wait for a trainer. */
  queued(): JobRecord[] {
    return this.#sql.all<Row>("SELECT * FROM jobs WHERE status = 'queued' ORDER BY rowid").map(recordOf)
  }

  /** Jobs that have not ended. */
  unended(): JobRecord[] {
    return this.#sql
      .all<Row>("SELECT * FROM jobs WHERE status NOT IN ('succeeded', 'failed', 'cancelled') ORDER BY rowid")
      .map(recordOf)
  }

  /** Tokens that jobs beside this one may still train. */
  plannedBeside(job: JobId): number {
    return this.unended()
      .filter(({ id }) => id !== job)
      .reduce((sum, { plannedTokens }) => sum + plannedTokens, 0)
  }

  change(id: JobId, change: JobChange): void {
    const before = this.find(id)
    if (before === undefined) return
    const after = { ...before, ...change }
    const isEnding = !isEndedJob(before.status) && isEndedJob(after.status)
    this.#sql.all(
      `UPDATE jobs SET status = ?, fence = ?, step = ?, steps = ?, planned_tokens = ?, trained_tokens = ?,
        estimated_finish = ?, finished_at = ?, error = ?, adapter = ?, fine_tuned_model = ?, evaluation = ?,
        publishing_at = ?, published = ? WHERE id = ?`,
      ...[
        after.status,
        after.fence,
        after.progress?.step ?? null,
        after.progress?.steps ?? null,
        after.plannedTokens,
        after.trainedTokens,
        after.estimatedFinish,
        isEnding ? seconds() : after.finishedAt,
        after.error === null ? null : JSON.stringify(after.error),
        after.adapter,
        after.fineTunedModel,
        after.evaluation === null ? null : JSON.stringify(after.evaluation),
        after.publishingAt,
        after.published,
        id,
      ],
    )
  }
}

function recordOf(row: Row): JobRecord {
  return {
    id: JobId.parse(row.id),
    createdAt: row.created_at,
    spec: JobSpec.parse(JSON.parse(row.spec)),
    status: JobStatus.parse(row.status),
    fence: row.fence,
    progress: row.step === null || row.steps === null ? null : { step: row.step, steps: row.steps },
    plannedTokens: row.planned_tokens,
    trainedTokens: row.trained_tokens,
    estimatedFinish: row.estimated_finish,
    finishedAt: row.finished_at,
    error: row.error === null ? null : JobError.parse(JSON.parse(row.error)),
    adapter: row.adapter === null ? null : AdapterDigest.parse(row.adapter),
    fineTunedModel: row.fine_tuned_model,
    evaluation: row.evaluation === null ? null : JobEvaluation.parse(JSON.parse(row.evaluation)),
    publishingAt: row.publishing_at,
    published: row.published === null ? null : AdapterDigest.parse(row.published),
  }
}

/** A job as the API shows it. */
export function jobOf(record: JobRecord, tenant: string): Job {
  const { hyperparameters, metadata, model, seed, suffix, trainingFile, validationFile } = record.spec
  return {
    id: record.id,
    object: 'fine_tuning.job',
    created_at: record.createdAt,
    finished_at: record.finishedAt,
    estimated_finish: isEndedJob(record.status) ? null : record.estimatedFinish,
    status: record.status,
    model,
    fine_tuned_model: record.fineTunedModel,
    organization_id: tenant,
    training_file: trainingFile,
    validation_file: validationFile,
    result_files: [],
    seed,
    trained_tokens: record.trainedTokens,
    hyperparameters,
    method: { type: 'supervised', supervised: { hyperparameters } },
    metadata,
    integrations: null,
    user_provided_suffix: suffix,
    error: record.error,
    adapter: record.adapter,
    evaluation: record.evaluation,
    estimate: record.spec.estimate,
    progress: record.progress,
  }
}
