import { DurableObject } from 'cloudflare:workers'
import type { StoredResponse } from './stored-response.ts'

/** How long a response is kept. */
export const keptMs = 30 * 24 * 3_600_000
/** The most bytes that one tenant's responses may take; the oldest are removed first. */
const maxKeptBytes = 256 * 1024 * 1024
const maxKept = 10_000
/** A row of SQLite has at most 2 MB. A longer response, as log-probabilities make it, lies in several rows. */
const maxRowBytes = 1024 * 1024

/** One per tenant: its stored responses. */
export class TenantResponses extends DurableObject {
  readonly #sql: SqlStorage

  constructor(ctx: DurableObjectState, env: Cloudflare.Env) {
    super(ctx, env)
    this.#sql = ctx.storage.sql
  }

  async put(id: string, stored: StoredResponse): Promise<void> {
    this.#open()
    const text = JSON.stringify(stored)
    const bytes = new TextEncoder().encode(text)
    const isLong = bytes.length > maxRowBytes
    this.ctx.storage.transactionSync(() => {
      const row = [id, Date.now(), bytes.length, isLong ? '' : text]
      this.#sql.exec('INSERT OR REPLACE INTO response VALUES (?, ?, ?, ?)', ...row)
      for (let at = 0; isLong && at < bytes.length; at += maxRowBytes)
        this.#sql.exec('INSERT INTO piece VALUES (?, ?, ?)', id, at, bytes.slice(at, at + maxRowBytes).buffer)
      this.#forgetOldest()
    })
    if ((await this.ctx.storage.getAlarm()) === null) await this.ctx.storage.setAlarm(Date.now() + keptMs)
  }

  #forgetOldest(): void {
    this.#sql.exec(
      `DELETE FROM response WHERE id IN (SELECT id FROM (
         SELECT id, SUM(bytes) OVER newest AS bytes, ROW_NUMBER() OVER newest AS place
         FROM response WINDOW newest AS (ORDER BY at DESC, id)) WHERE bytes > ? OR place > ?)`,
      maxKeptBytes,
      maxKept,
    )
    this.#forgetPieces()
  }

  /** Those of responses that are gone. */
  #forgetPieces(): void {
    this.#sql.exec('DELETE FROM piece WHERE id NOT IN (SELECT id FROM response)')
  }

  async find(id: string): Promise<StoredResponse | undefined> {
    this.#open()
    const [row] = this.#sql
      .exec<{ body: string }>('SELECT body FROM response WHERE id = ? AND at > ?', id, Date.now() - keptMs)
      .toArray()
    return row === undefined ? undefined : JSON.parse(row.body === '' ? this.#joined(id) : row.body)
  }

  #joined(id: string): string {
    const decoder = new TextDecoder()
    const pieces = this.#sql.exec<{ bytes: ArrayBuffer }>(
      'SELECT bytes FROM piece WHERE id = ? ORDER BY at',
      id,
    )
    let text = ''
    for (const { bytes } of pieces) text += decoder.decode(bytes, { stream: true })
    return text + decoder.decode()
  }

  /** Whether there was one. */
  async remove(id: string): Promise<boolean> {
    this.#open()
    const { rowsWritten } = this.#sql.exec(
      'DELETE FROM response WHERE id = ? AND at > ?',
      id,
      Date.now() - keptMs,
    )
    this.#forgetPieces()
    return rowsWritten > 0
  }

  override async alarm(): Promise<void> {
    this.#open()
    this.#sql.exec('DELETE FROM response WHERE at <= ?', Date.now() - keptMs)
    this.#forgetPieces()
    const [oldest] = this.#sql.exec<{ at: number | null }>('SELECT MIN(at) AS at FROM response').toArray()
    if (oldest?.at == null) await this.ctx.storage.deleteAll()
    else await this.ctx.storage.setAlarm(oldest.at + keptMs)
  }

  #open(): void {
    this.#sql.exec(
      'CREATE TABLE IF NOT EXISTS response (id TEXT PRIMARY KEY, at INTEGER NOT NULL, bytes INTEGER NOT NULL, body TEXT NOT NULL) STRICT',
    )
    this.#sql.exec(
      'CREATE TABLE IF NOT EXISTS piece (id TEXT NOT NULL, at INTEGER NOT NULL, bytes BLOB NOT NULL, PRIMARY KEY (id, at)) STRICT',
    )
  }
}
