import { DurableObject } from 'cloudflare:workers'
import type { StoredResponse } from './stored-response.ts'

/** How long a response is kept. */
export const keptMs = 30 * 24 * 3_600_000
/** The most bytes that one tenant's responses may take; the oldest are removed first. */
const maxKeptBytes = 256 * 1024 * 1024
const maxKept = 10_000

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
    this.#sql.exec('INSERT OR REPLACE INTO response VALUES (?, ?, ?, ?)', id, Date.now(), text.length, text)
    this.#sql.exec(
      `DELETE FROM response WHERE id IN (SELECT id FROM (
         SELECT id, SUM(bytes) OVER newest AS bytes, ROW_NUMBER() OVER newest AS place
         FROM response WINDOW newest AS (ORDER BY at DESC, id)) WHERE bytes > ? OR place > ?)`,
      maxKeptBytes,
      maxKept,
    )
    if ((await this.ctx.storage.getAlarm()) === null) await this.ctx.storage.setAlarm(Date.now() + keptMs)
  }

  async find(id: string): Promise<StoredResponse | undefined> {
    this.#open()
    const [row] = this.#sql
      .exec<{ body: string }>('SELECT body FROM response WHERE id = ? AND at > ?', id, Date.now() - keptMs)
      .toArray()
    return row === undefined ? undefined : JSON.parse(row.body)
  }

  /** Whether there was one. */
  async remove(id: string): Promise<boolean> {
    this.#open()
    const { rowsWritten } = this.#sql.exec(
      'DELETE FROM response WHERE id = ? AND at > ?',
      id,
      Date.now() - keptMs,
    )
    return rowsWritten > 0
  }

  override async alarm(): Promise<void> {
    this.#open()
    this.#sql.exec('DELETE FROM response WHERE at <= ?', Date.now() - keptMs)
    const [oldest] = this.#sql.exec<{ at: number | null }>('SELECT MIN(at) AS at FROM response').toArray()
    if (oldest?.at == null) await this.ctx.storage.deleteAll()
    else await this.ctx.storage.setAlarm(oldest.at + keptMs)
  }

  #open(): void {
    this.#sql.exec(
      'CREATE TABLE IF NOT EXISTS response (id TEXT PRIMARY KEY, at INTEGER NOT NULL, bytes INTEGER NOT NULL, body TEXT NOT NULL) STRICT',
    )
  }
}
