import { DurableObject } from 'cloudflare:workers'
import { z } from 'zod'
import type { TenantEntry } from '../../shared/api/admin.ts'
import { TenantId } from '../../shared/ids.ts'
import { KeyRecord } from '../store/records.ts'

/**
 * How long a change is told to isolates: far longer than KV takes to show it everywhere (a minute, as a rule), and than
 * an isolate remembers what it read there.
 */
export const retentionMs = 15 * 60_000
const maxChanges = 2_000

/** A change of a tenant or key that isolates may remember otherwise. */
export const Change = z.discriminatedUnion('kind', [
  /** The tenant's record has this version by now. */
  z.object({ kind: z.literal('tenant'), id: TenantId, version: z.int() }),
  /** The key with this SHA-256; null is revoked. */
  z.object({ kind: z.literal('key'), id: z.string(), record: KeyRecord.nullable() }),
])
export type Change = z.infer<typeof Change>

export interface Changes {
  /** The position to ask from next time. */
  readonly seq: number
  readonly changes: readonly Change[]
  /** Changes after the one asked from are forgotten already: the caller has missed some. */
  readonly missed: boolean
  /** There are more: ask again. */
  readonly more: boolean
}

export interface TenantState extends Omit<TenantEntry, 'status'> {
  readonly status: TenantEntry['status'] | 'deleted'
  readonly version: number
}

export interface FeedPublication {
  readonly tenant: TenantState
  readonly keys: readonly { readonly sha256: string; readonly record: KeyRecord | null }[]
}

const schema = `
  CREATE TABLE IF NOT EXISTS tenants (
    id TEXT PRIMARY KEY, status TEXT NOT NULL, created_at INTEGER NOT NULL, version INTEGER NOT NULL
  ) STRICT;
  CREATE TABLE IF NOT EXISTS changes (
    seq INTEGER PRIMARY KEY AUTOINCREMENT, at INTEGER NOT NULL, kind TEXT NOT NULL, id TEXT NOT NULL,
    value TEXT NOT NULL, UNIQUE (kind, id)
  ) STRICT;
  CREATE INDEX IF NOT EXISTS changes_at ON changes (at);
  CREATE TABLE IF NOT EXISTS forgotten (only_row INTEGER PRIMARY KEY CHECK (only_row = 1), seq INTEGER NOT NULL) STRICT;
  INSERT OR IGNORE INTO forgotten VALUES (1, 0);
`

/**
 * One for all: which tenants there are, and what changed lately, in order. Isolates ask it every few seconds what they
 * missed, which bounds how long a revoked key or a moved alias lives on, however late KV is.
 */
export class ChangeFeed extends DurableObject {
  readonly #sql: SqlStorage

  constructor(ctx: DurableObjectState, env: Cloudflare.Env) {
    super(ctx, env)
    this.#sql = ctx.storage.sql
    this.#sql.exec(schema)
  }

  /**
   * Repeating or reordering publications does no harm: a tenant's later version is never replaced by an earlier one. Nor
   * are its keys: a directory tells them again, as they are then, until it has heard that they are taken.
   */
  publish(publications: readonly FeedPublication[]): void {
    this.ctx.storage.transactionSync(() => {
      for (const { keys, tenant } of publications) {
        const { createdAt, id, status, version } = tenant
        this.#sql.exec(
          `INSERT INTO tenants VALUES (?, ?, ?, ?) ON CONFLICT DO UPDATE SET
             status = excluded.status, created_at = excluded.created_at, version = excluded.version
           WHERE excluded.version > version`,
          ...[id, status, createdAt, version],
        )
        this.#append({ kind: 'tenant', id, version: this.#version(id) })
        if (version < this.#version(id)) continue
        for (const { record, sha256 } of keys) this.#append({ kind: 'key', id: sha256, record })
      }
      this.#forget()
    })
  }

  /** Changes after `since`; without it, all that are remembered. */
  changes(since: number | undefined): Changes {
    const forgotten = this.#number('SELECT seq FROM forgotten')
    const missed = since !== undefined && since < forgotten
    const rows = this.#sql
      .exec<{ seq: number; value: string }>(
        'SELECT seq, value FROM changes WHERE seq > ? ORDER BY seq LIMIT ?',
        missed ? forgotten : (since ?? 0),
        maxChanges + 1,
      )
      .toArray()
    const page = rows.slice(0, maxChanges)
    return {
      seq: page.at(-1)?.seq ?? Math.max(since ?? 0, forgotten),
      changes: page.map(({ value }) => Change.parse(JSON.parse(value))),
      missed,
      more: rows.length > maxChanges,
    }
  }

  /** Tenants by id, behind `after`: those that there are, or those that were deleted as well. */
  tenants({ after, limit, of }: { after: string; limit: number; of: 'today' | 'ever' }): TenantState[] {
    const existing = of === 'today' ? "AND status != 'deleted'" : ''
    return this.#sql
      .exec<{ id: string; status: TenantState['status']; created_at: number; version: number }>(
        `SELECT * FROM tenants WHERE id > ? ${existing} ORDER BY id LIMIT ?`,
        after,
        limit,
      )
      .toArray()
      .map(({ created_at, id, ...rest }) => ({ ...rest, id: TenantId.parse(id), createdAt: created_at }))
  }

  #append(change: Change): void {
    this.#sql.exec(
      'INSERT OR REPLACE INTO changes (at, kind, id, value) VALUES (?, ?, ?, ?)',
      ...[Date.now(), change.kind, change.id, JSON.stringify(change)],
    )
  }

  #forget(): void {
    const before = Date.now() - retentionMs
    this.#sql.exec(
      'UPDATE forgotten SET seq = MAX(seq, COALESCE((SELECT MAX(seq) FROM changes WHERE at < ?), 0))',
      before,
    )
    this.#sql.exec('DELETE FROM changes WHERE at < ?', before)
  }

  #version(id: TenantId): number {
    return this.#number('SELECT version FROM tenants WHERE id = ?', id)
  }

  #number(query: string, ...bindings: SqlStorageValue[]): number {
    return Number(Object.values(this.#sql.exec(query, ...bindings).one())[0])
  }
}
