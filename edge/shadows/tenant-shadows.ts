import { DurableObject } from 'cloudflare:workers'
import { maxShadowAnswers, maxShadowBytes, type ShadowAnswer } from '../../shared/api/shadows.ts'
import type { AliasName } from '../../shared/ids.ts'

/** How long an answer is kept. */
const keptMs = 30 * 86_400_000

interface Page {
  /** Those of a lower id. */
  readonly before: number | undefined
  readonly limit: number
}

/** One per tenant: what the shadows of its aliases answered. The oldest go first when there are too many. */
export class TenantShadows extends DurableObject {
  readonly #sql: SqlStorage

  constructor(ctx: DurableObjectState, env: Cloudflare.Env) {
    super(ctx, env)
    this.#sql = ctx.storage.sql
  }

  async put(answer: Omit<ShadowAnswer, 'id'>): Promise<void> {
    this.#open()
    const text = JSON.stringify(answer)
    this.#sql.exec(
      'INSERT INTO answer (alias, at, bytes, body) VALUES (?, ?, ?, ?)',
      ...[answer.alias, answer.at, new TextEncoder().encode(text).length, text],
    )
    this.#sql.exec(
      `DELETE FROM answer WHERE id IN (SELECT id FROM (
         SELECT id, SUM(bytes) OVER newest AS bytes, ROW_NUMBER() OVER newest AS place
         FROM answer WINDOW newest AS (ORDER BY id DESC)) WHERE bytes > ? OR place > ?)`,
      maxShadowBytes,
      maxShadowAnswers,
    )
    if ((await this.ctx.storage.getAlarm()) === null) await this.ctx.storage.setAlarm(Date.now() + keptMs)
  }

  /** Newest first. */
  async list(alias: AliasName, { before, limit }: Page): Promise<ShadowAnswer[]> {
    this.#open()
    return this.#sql
      .exec<{ id: number; body: string }>(
        'SELECT id, body FROM answer WHERE alias = ? AND at > ? AND id < ? ORDER BY id DESC LIMIT ?',
        ...[alias, Date.now() - keptMs, before ?? Number.MAX_SAFE_INTEGER, limit],
      )
      .toArray()
      .map(({ body, id }) => ({ id: String(id), ...JSON.parse(body) }))
  }

  /** Deletes those of an alias; how many there were. */
  async clear(alias: AliasName): Promise<number> {
    this.#open()
    return this.#sql.exec('DELETE FROM answer WHERE alias = ? RETURNING id', alias).toArray().length
  }

  override async alarm(): Promise<void> {
    this.#open()
    this.#sql.exec('DELETE FROM answer WHERE at <= ?', Date.now() - keptMs)
    const [oldest] = this.#sql.exec<{ at: number | null }>('SELECT MIN(at) AS at FROM answer').toArray()
    if (oldest?.at == null) await this.ctx.storage.deleteAll()
    else await this.ctx.storage.setAlarm(oldest.at + keptMs)
  }

  #open(): void {
    this.#sql.exec(
      'CREATE TABLE IF NOT EXISTS answer (id INTEGER PRIMARY KEY AUTOINCREMENT, alias TEXT NOT NULL, at INTEGER NOT NULL, bytes INTEGER NOT NULL, body TEXT NOT NULL) STRICT',
    )
  }
}
