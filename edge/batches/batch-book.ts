import type { BatchErrors, BatchId, BatchStatus, BatchTimes } from '../../shared/api/batches.ts'
import { FileId } from '../../shared/api/files.ts'
import { type Outcome, ok, refuse } from '../directory/outcome.ts'
import type { Sql, SqlValue } from '../store/sql.ts'
import {
  type BatchChange,
  type BatchRecord,
  type BatchSpec,
  BatchTable,
  expiresAt,
  isEndedBatch,
} from './batch-table.ts'

const maxUnended = 50

/** Where a request stands in the batch's file. */
export interface BatchRequest {
  readonly line: number
  readonly customId: string
  /** The position of its line in the file, in bytes. */
  readonly at: number
  readonly bytes: number
}

export interface PendingRequest extends BatchRequest {
  /** Runs whose end is known. A run that a crash cut off does not count as a try. */
  readonly tries: number
  /** The number of those tries that failed at a node. */
  readonly failures: number
}

/** How a request ended. `text` is its line of the output or of the error file. */
export interface BatchResult {
  readonly line: number
  readonly isError: boolean
  readonly text: string
  readonly tokens: { readonly input: number; readonly output: number }
}

interface Row extends Record<string, SqlValue> {
  readonly line: number
  readonly custom_id: string
  readonly at: number
  readonly bytes: number
  readonly tries: number
  readonly failures: number
}

const schema = `CREATE TABLE IF NOT EXISTS requests (
  batch TEXT NOT NULL, line INTEGER NOT NULL, custom_id TEXT NOT NULL, at INTEGER NOT NULL, bytes INTEGER NOT NULL,
  tries INTEGER NOT NULL DEFAULT 0, failures INTEGER NOT NULL DEFAULT 0, is_error INTEGER, result TEXT,
  PRIMARY KEY (batch, line), UNIQUE (batch, custom_id)
) STRICT`

const timeOf: Readonly<Partial<Record<BatchStatus, keyof BatchTimes>>> = {
  in_progress: 'in_progress_at',
  finalizing: 'finalizing_at',
  completed: 'completed_at',
  failed: 'failed_at',
  expired: 'expired_at',
  cancelling: 'cancelling_at',
  cancelled: 'cancelled_at',
}

/**
 * One tenant's batches: every change of a batch's status, and the result of each of its requests, which is kept as soon
 * as it is there, once.
 */
export class BatchBook {
  readonly #sql: Sql
  readonly #now: () => number
  readonly batches: BatchTable

  /** `now`: milliseconds since 1970. */
  constructor(sql: Sql, now: () => number = Date.now) {
    sql.all(schema)
    this.#sql = sql
    this.#now = now
    this.batches = new BatchTable(sql)
  }

  create(id: BatchId, spec: BatchSpec): Outcome<BatchRecord> {
    if (this.batches.unended().length >= maxUnended)
      return refuse('conflict', `at most ${maxUnended} batches may wait and run at once; cancel some or wait`)
    this.batches.add(id, this.#seconds(), spec)
    return ok(this.#require(id))
  }

  cancel(id: BatchId): Outcome<BatchRecord> {
    const batch = this.batches.find(id)
    if (batch === undefined) return refuse('not_found', `this tenant has no batch ${id}`)
    if (batch.status === 'cancelling' || batch.status === 'cancelled') return ok(batch)
    if (batch.status !== 'validating' && batch.status !== 'in_progress')
      return refuse(
        'conflict',
        `the batch is ${batch.status}; it can only be cancelled while it is validating or in_progress`,
      )
    return ok(this.#move(batch, 'cancelling'))
  }

  /** The batch to go on with: the oldest that has not ended. One whose time is over expires. */
  next(): BatchRecord | undefined {
    const [batch] = this.batches.unended()
    if (batch === undefined || expiresAt(batch) > this.#seconds()) return batch
    if (batch.status === 'validating' || batch.status === 'in_progress') {
      this.#expireRequests(batch.id)
      return this.#move(batch, 'finalizing', { times: { ...batch.times, expired_at: this.#seconds() } })
    }
    return batch
  }

  /** Forgets requests of a validation that was cut off. */
  beginRequests(id: BatchId): void {
    this.#sql.all('DELETE FROM requests WHERE batch = ?', id)
  }

  /** Keeps requests of the file; returns those whose `custom_id` an earlier one has. */
  addRequests(id: BatchId, requests: readonly BatchRequest[]): BatchRequest[] {
    return this.#sql.atomically(() =>
      requests.filter(({ at, bytes, customId, line }) => {
        const added = this.#sql.all(
          'INSERT INTO requests (batch, line, custom_id, at, bytes) VALUES (?, ?, ?, ?, ?) ON CONFLICT DO NOTHING RETURNING line',
          ...[id, line, customId, at, bytes],
        )
        return added.length === 0
      }),
    )
  }

  /** The file is read: the batch runs, or has failed with what is wrong in it. */
  validated(id: BatchId, errors: BatchErrors['data']): void {
    this.#sql.atomically(() => {
      const batch = this.#require(id)
      if (batch.status !== 'validating') return
      if (errors.length > 0) {
        this.beginRequests(id)
        this.#move(batch, 'failed', { errors: { object: 'list', data: [...errors] } })
        return
      }
      const total = this.#count(id)
      this.#move(batch, 'in_progress', { counts: { ...batch.counts, total } })
    })
  }

  /** The first requests without a result. */
  pending(id: BatchId, limit: number): PendingRequest[] {
    return this.#sql
      .all<Row>('SELECT * FROM requests WHERE batch = ? AND result IS NULL ORDER BY line LIMIT ?', id, limit)
      .map(({ at, bytes, custom_id: customId, failures, line, tries }) => ({
        at,
        bytes,
        customId,
        failures,
        line,
        tries,
      }))
  }

  /** A run ended without a result and will be repeated. */
  tried(id: BatchId, line: number, { isFailure }: { readonly isFailure: boolean }): void {
    this.#sql.all(
      'UPDATE requests SET tries = tries + 1, failures = failures + ? WHERE batch = ? AND line = ?',
      ...[isFailure ? 1 : 0, id, line],
    )
  }

  /** Keeps a result. The first one of a request counts. */
  finish(id: BatchId, { isError, line, text, tokens }: BatchResult): void {
    this.#sql.atomically(() => {
      const kept = this.#sql.all(
        'UPDATE requests SET is_error = ?, result = ? WHERE batch = ? AND line = ? AND result IS NULL RETURNING line',
        ...[isError ? 1 : 0, text, id, line],
      )
      if (kept.length === 0) return
      const { counts, tokens: before } = this.#require(id)
      this.batches.change(id, {
        counts: {
          ...counts,
          completed: counts.completed + (isError ? 0 : 1),
          failed: counts.failed + (isError ? 1 : 0),
        },
        tokens: { input: before.input + tokens.input, output: before.output + tokens.output },
      })
    })
  }

  /** All requests have their results, and only the files must still be written. Their ids are fixed from here on. */
  finalize(id: BatchId): BatchRecord {
    return this.#sql.atomically(() => {
      const batch = this.#require(id)
      const moved = batch.status === 'in_progress' ? this.#move(batch, 'finalizing') : batch
      const { completed, failed } = moved.counts
      this.batches.change(id, {
        outputFile: moved.outputFile ?? (completed > 0 ? newFileId() : null),
        errorFile: moved.errorFile ?? (failed > 0 ? newFileId() : null),
      })
      return this.#require(id)
    })
  }

  /** Lines of the output or of the error file in the order of their `custom_id`, those behind `after`. */
  results(
    id: BatchId,
    { after, isError, limit }: { readonly isError: boolean; readonly after: string; readonly limit: number },
  ): { readonly customId: string; readonly text: string }[] {
    return this.#sql
      .all<{ custom_id: string; result: string }>(
        'SELECT custom_id, result FROM requests WHERE batch = ? AND is_error = ? AND custom_id > ? ORDER BY custom_id LIMIT ?',
        ...[id, isError ? 1 : 0, after, limit],
      )
      .map(({ custom_id: customId, result: text }) => ({ customId, text }))
  }

  /** The files are written: the batch is over. */
  end(id: BatchId): void {
    this.#sql.atomically(() => {
      const batch = this.#require(id)
      if (isEndedBatch(batch)) return
      this.beginRequests(id)
      const status =
        batch.status === 'cancelling'
          ? 'cancelled'
          : batch.times.expired_at === null
            ? 'completed'
            : 'expired'
      this.#move(batch, status)
    })
  }

  /** Whether a batch that has not ended reads the file. */
  readerOf(file: FileId): BatchId | undefined {
    return this.batches.unended().find(({ inputFile }) => inputFile === file)?.id
  }

  #expireRequests(id: BatchId): void {
    for (const { customId, line } of this.pending(id, Number.MAX_SAFE_INTEGER))
      this.finish(id, {
        line,
        isError: true,
        text: resultLine(
          { batch: id, customId, line },
          {
            error: {
              code: 'batch_expired',
              message: 'This request could not be executed before the completion window expired.',
            },
          },
        ),
        tokens: { input: 0, output: 0 },
      })
  }

  #move(batch: BatchRecord, status: BatchStatus, change: BatchChange = {}): BatchRecord {
    const times = change.times ?? batch.times
    const time = timeOf[status]
    const at = time !== undefined && times[time] === null ? { [time]: this.#seconds() } : {}
    this.batches.change(batch.id, { ...change, status, times: { ...times, ...at } })
    return this.#require(batch.id)
  }

  #count(id: BatchId): number {
    return (
      this.#sql.all<{ count: number }>('SELECT COUNT(*) AS count FROM requests WHERE batch = ?', id)[0]
        ?.count ?? 0
    )
  }

  #require(id: BatchId): BatchRecord {
    const batch = this.batches.find(id)
    if (batch === undefined) throw new Error(`the batch ${id} is gone`)
    return batch
  }

  #seconds(): number {
    return Math.floor(this.#now() / 1_000)
  }
}

const newFileId = (): FileId => FileId.parse(`file-${crypto.randomUUID().replaceAll('-', '').slice(0, 24)}`)

/** One line of the output or of the error file, as OpenAI has it. */
export function resultLine(
  { batch, customId, line }: { readonly batch: BatchId; readonly customId: string; readonly line: number },
  end:
    | {
        readonly response: {
          readonly status_code: number
          readonly request_id: string
          readonly body: unknown
        }
      }
    | { readonly error: { readonly code: string; readonly message: string } },
): string {
  return JSON.stringify({
    id: `batch_req_${batch.slice('batch_'.length)}${line}`,
    custom_id: customId,
    response: 'response' in end ? end.response : null,
    error: 'error' in end ? end.error : null,
  })
}
