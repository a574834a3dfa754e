import { z } from 'zod'
import {
  type Batch,
  BatchEndpoint,
  BatchErrors,
  BatchId,
  BatchStatus,
  BatchTimes,
} from '../../shared/api/batches.ts'
import { FileId } from '../../shared/api/files.ts'
import { KeyId } from '../../shared/ids.ts'
import type { Sql, SqlValue } from '../store/sql.ts'

/** A client's order for a batch. It is fixed when the batch is created. */
export interface BatchSpec {
  readonly inputFile: FileId
  readonly endpoint: BatchEndpoint
  readonly metadata: Record<string, string> | null
  /** Its requests count as requests of this key. */
  readonly key: KeyId
}

/** A batch as the table holds it. Times are seconds since 1970. */
export interface BatchRecord extends BatchSpec {
  readonly id: BatchId
  readonly createdAt: number
  readonly status: BatchStatus
  readonly times: BatchTimes
  readonly errors: BatchErrors | null
  readonly outputFile: FileId | null
  readonly errorFile: FileId | null
  readonly counts: Batch['request_counts']
  readonly tokens: { readonly input: number; readonly output: number }
}

const state = z.object({
  status: BatchStatus,
  times: BatchTimes,
  errors: BatchErrors.nullable(),
  outputFile: FileId.nullable(),
  errorFile: FileId.nullable(),
  counts: z.object({ total: z.int(), completed: z.int(), failed: z.int() }),
  tokens: z.object({ input: z.int(), output: z.int() }),
})
const spec = z.object({
  inputFile: FileId,
  endpoint: BatchEndpoint,
  metadata: z.record(z.string(), z.string()).nullable(),
  key: KeyId,
})

interface Row extends Record<string, SqlValue> {
  readonly id: string
  readonly created_at: number
  readonly spec: string
  readonly state: string
}

const ended: ReadonlySet<BatchStatus> = new Set(['failed', 'completed', 'expired', 'cancelled'])
export const isEndedBatch = ({ status }: Pick<BatchRecord, 'status'>): boolean => ended.has(status)

export type BatchChange = Partial<z.infer<typeof state>>

const windowSeconds = 24 * 3_600
export const expiresAt = ({ createdAt }: Pick<BatchRecord, 'createdAt'>): number => createdAt + windowSeconds

/** A tenant's batches. */
export class BatchTable {
  readonly #sql: Sql

  constructor(sql: Sql) {
    sql.all(
      `CREATE TABLE IF NOT EXISTS batches (
        id TEXT PRIMARY KEY, created_at INTEGER NOT NULL, is_ended INTEGER NOT NULL, spec TEXT NOT NULL, state TEXT NOT NULL
      ) STRICT`,
    )
    this.#sql = sql
  }

  add(id: BatchId, createdAt: number, asked: BatchSpec): void {
    const begun: z.infer<typeof state> = {
      status: 'validating',
      times: {
        in_progress_at: null,
        finalizing_at: null,
        completed_at: null,
        failed_at: null,
        expired_at: null,
        cancelling_at: null,
        cancelled_at: null,
      },
      errors: null,
      outputFile: null,
      errorFile: null,
      counts: { total: 0, completed: 0, failed: 0 },
      tokens: { input: 0, output: 0 },
    }
    this.#sql.all(
      'INSERT INTO batches VALUES (?, ?, 0, ?, ?)',
      ...[id, createdAt, JSON.stringify(asked), JSON.stringify(begun)],
    )
  }

  find(id: BatchId): BatchRecord | undefined {
    const [row] = this.#sql.all<Row>('SELECT * FROM batches WHERE id = ?', id)
    return row === undefined ? undefined : recordOf(row)
  }

  /** Newest first; those behind `after`. */
  list({ after, limit }: { readonly after: BatchId | undefined; readonly limit: number }): BatchRecord[] {
    return this.#sql
      .all<Row>(
        `SELECT * FROM batches WHERE rowid < COALESCE((SELECT rowid FROM batches WHERE id = ?), 9007199254740991)
          ORDER BY rowid DESC LIMIT ?`,
        ...[after ?? null, limit],
      )
      .map(recordOf)
  }

  /** Oldest first. */
  unended(): BatchRecord[] {
    return this.#sql.all<Row>('SELECT * FROM batches WHERE is_ended = 0 ORDER BY rowid').map(recordOf)
  }

  change(id: BatchId, change: BatchChange): void {
    const before = this.find(id)
    if (before === undefined) return
    const after = state.parse({ ...before, ...change })
    this.#sql.all(
      'UPDATE batches SET state = ?, is_ended = ? WHERE id = ?',
      ...[JSON.stringify(after), isEndedBatch(after) ? 1 : 0, id],
    )
  }
}

function recordOf(row: Row): BatchRecord {
  return {
    id: BatchId.parse(row.id),
    createdAt: row.created_at,
    ...spec.parse(JSON.parse(row.spec)),
    ...state.parse(JSON.parse(row.state)),
  }
}

/** A batch as the API shows it. */
export function batchOf(record: BatchRecord): Batch {
  const { input, output } = record.tokens
  return {
    id: record.id,
    object: 'batch',
    endpoint: record.endpoint,
    errors: record.errors,
    input_file_id: record.inputFile,
    completion_window: '24h',
    status: record.status,
    output_file_id: record.outputFile,
    error_file_id: record.errorFile,
    created_at: record.createdAt,
    expires_at: expiresAt(record),
    ...record.times,
    request_counts: record.counts,
    usage: { input_tokens: input, output_tokens: output, total_tokens: input + output },
    metadata: record.metadata,
  }
}
