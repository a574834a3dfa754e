import { z } from 'zod'
import { FileId, type FileObject, maxFileBytes, StoredPurpose, TokenCount } from '../../shared/api/files.ts'
import type { Sql, SqlValue } from '../store/sql.ts'

interface Row extends Record<string, SqlValue> {
  readonly id: string
  readonly filename: string
  readonly purpose: string
  readonly bytes: number
  readonly lines: number
  readonly created_at: number
  /** JSON; null where the file's tokens were not counted. */
  readonly token_counts: string | null
}

/** An upload that has not ended by then has died: its room is free again. */
const uploadSeconds = 3_600

/** Deleted files whose places are remembered. */
const maxPastFiles = 1_000

/** A tenant's files; their bytes lie in the bucket. */
export class FileTable {
  readonly #sql: Sql

  constructor(sql: Sql) {
    this.#sql = sql
  }

  /** Bytes of all files, and those that running uploads may bring. */
  get bytes(): number {
    this.#sql.all(
      'DELETE FROM file_uploads WHERE began_at < ?',
      Math.floor(Date.now() / 1_000) - uploadSeconds,
    )
    const [row] = this.#sql.all<{ bytes: number }>(
      'SELECT (SELECT COALESCE(SUM(bytes), 0) FROM files) + (SELECT COALESCE(SUM(bytes), 0) FROM file_uploads) AS bytes',
    )
    return row?.bytes ?? 0
  }

  /**
   * Takes room for an upload: `wanted` bytes, or what there is where the length is not known. Returns how many bytes it
   * may have; undefined when `limit` leaves too few.
   */
  reserve(
    id: FileId,
    { limit, wanted }: { readonly wanted: number | null; readonly limit: number | null },
  ): number | undefined {
    const left = limit === null ? maxFileBytes : Math.max(0, limit - this.bytes)
    const bytes = wanted ?? Math.min(left, maxFileBytes)
    if (bytes > left || bytes === 0) return undefined
    this.#sql.all(
      'INSERT INTO file_uploads (id, bytes, began_at) VALUES (?, ?, ?)',
      ...[id, bytes, Math.floor(Date.now() / 1_000)],
    )
    return bytes
  }

  release(id: FileId): void {
    this.#sql.all('DELETE FROM file_uploads WHERE id = ?', id)
  }

  /** Adds a file, or says the same of it again. */
  add({ bytes, created_at, filename, id, lines, purpose, token_counts: counts }: FileObject): void {
    this.#sql.atomically(() => {
      this.release(id)
      this.#sql.all(
        'INSERT OR REPLACE INTO files (id, filename, purpose, bytes, lines, created_at, token_counts) VALUES (?, ?, ?, ?, ?, ?, ?)',
        ...[id, filename, purpose, bytes, lines, created_at],
        counts === undefined ? null : JSON.stringify(counts),
      )
    })
  }

  find(id: FileId): FileObject | undefined {
    const [row] = this.#sql.all<Row>('SELECT * FROM files WHERE id = ?', id)
    return row === undefined ? undefined : fileOf(row)
  }

  remove(id: FileId): void {
    this.#sql.atomically(() => {
      this.#sql.all('INSERT INTO past_files (id, place) SELECT id, rowid FROM files WHERE id = ?', id)
      this.#sql.all(
        'DELETE FROM past_files WHERE seq <= (SELECT seq FROM past_files ORDER BY seq DESC LIMIT 1 OFFSET ?)',
        maxPastFiles,
      )
      this.#sql.all('DELETE FROM files WHERE id = ?', id)
    })
  }

  /** Newest first; those behind `after`, which may have been deleted of late. */
  list({
    after,
    limit,
    purposes,
  }: {
    readonly after: FileId | undefined
    readonly limit: number
    readonly purposes: readonly StoredPurpose[]
  }): FileObject[] {
    return this.#sql
      .all<Row>(
        `SELECT * FROM files WHERE rowid < COALESCE((SELECT rowid FROM files WHERE id = ?1),
          (SELECT place FROM past_files WHERE id = ?1), 9007199254740991)
          AND purpose IN (SELECT value FROM json_each(?2)) ORDER BY rowid DESC LIMIT ?3`,
        ...[after ?? null, JSON.stringify(purposes), limit],
      )
      .map(fileOf)
  }
}

function fileOf({ bytes, created_at, filename, id, lines, purpose, token_counts: counts }: Row): FileObject {
  return {
    id: FileId.parse(id),
    object: 'file',
    bytes,
    created_at,
    filename,
    purpose: StoredPurpose.parse(purpose),
    status: 'processed',
    lines,
    ...(counts === null ? {} : { token_counts: z.array(TokenCount).parse(JSON.parse(counts)) }),
  }
}
