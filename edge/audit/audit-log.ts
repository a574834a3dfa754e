import { DurableObject } from 'cloudflare:workers'
import { AuditEntry, type AuditQuery } from '../../shared/api/audit.ts'
import type { TenantId } from '../../shared/ids.ts'
import { type Outcome, ok, refuse } from '../directory/outcome.ts'

/** An action as it begins. */
export type BegunAction = Omit<AuditEntry, 'id' | 'at' | 'outcome'>

/** The keys of one tenant may begin this many actions within this time. Operators have no such limit. */
const maxTenantActions = 120
const paceMs = 60_000

/** Triggers on deletion do not fire for what `INSERT OR REPLACE` replaces: those on insertion refuse it. */
const schema = `
  CREATE TABLE IF NOT EXISTS actions (
    id INTEGER PRIMARY KEY AUTOINCREMENT, request_id TEXT NOT NULL UNIQUE, at INTEGER NOT NULL, actor TEXT NOT NULL,
    action TEXT NOT NULL, tenant TEXT, target TEXT NOT NULL
  ) STRICT;
  CREATE INDEX IF NOT EXISTS actions_of_tenants ON actions (tenant) WHERE actor != 'admin';
  CREATE TABLE IF NOT EXISTS outcomes (
    id INTEGER PRIMARY KEY REFERENCES actions (id), outcome TEXT NOT NULL, target TEXT NOT NULL
  ) STRICT;
  CREATE TRIGGER IF NOT EXISTS actions_add BEFORE INSERT ON actions
    WHEN EXISTS (SELECT 1 FROM actions WHERE id = NEW.id OR request_id = NEW.request_id)
    BEGIN SELECT RAISE(ABORT, 'append-only'); END;
  CREATE TRIGGER IF NOT EXISTS outcomes_add BEFORE INSERT ON outcomes
    WHEN EXISTS (SELECT 1 FROM outcomes WHERE id = NEW.id)
    BEGIN SELECT RAISE(ABORT, 'append-only'); END;
  CREATE TRIGGER IF NOT EXISTS actions_stay BEFORE UPDATE ON actions BEGIN SELECT RAISE(ABORT, 'append-only'); END;
  CREATE TRIGGER IF NOT EXISTS actions_last BEFORE DELETE ON actions BEGIN SELECT RAISE(ABORT, 'append-only'); END;
  CREATE TRIGGER IF NOT EXISTS outcomes_stay BEFORE UPDATE ON outcomes BEGIN SELECT RAISE(ABORT, 'append-only'); END;
  CREATE TRIGGER IF NOT EXISTS outcomes_last BEFORE DELETE ON outcomes BEGIN SELECT RAISE(ABORT, 'append-only'); END;
`

/**
 * One for all: the actions on the control plane. An action is written down before it is begun and once more when it has
 * ended; nothing here changes or removes what is written.
 */
export class AuditLog extends DurableObject {
  readonly #sql: SqlStorage

  constructor(ctx: DurableObjectState, env: Cloudflare.Env) {
    super(ctx, env)
    this.#sql = ctx.storage.sql
    this.#sql.exec(schema)
  }

  /** The entry's id; `rate_limited` for a tenant whose keys change too much at once. */
  begin({ action, actor, requestId, target, tenant }: BegunAction): Outcome<number> {
    const at = Date.now()
    const waitMs = actor === 'admin' || tenant === null ? 0 : this.#waitMs(tenant, at)
    if (waitMs > 0)
      return refuse(
        'rate_limited',
        `a tenant's keys may change at most ${maxTenantActions} things a minute; wait, or ask your operator to do it`,
        { retryAfterSeconds: Math.ceil(waitMs / 1_000) },
      )
    const { id } = this.#sql
      .exec<{ id: number }>(
        'INSERT INTO actions (request_id, at, actor, action, tenant, target) VALUES (?, ?, ?, ?, ?, ?) RETURNING id',
        ...[requestId, at, actor, action, tenant, JSON.stringify(target)],
      )
      .one()
    return ok(id)
  }

  /** Repeating it does no harm: the first outcome stays. */
  end(id: number, { outcome, target }: Pick<AuditEntry, 'outcome' | 'target'>): void {
    this.#sql.exec(
      'INSERT INTO outcomes SELECT ?, ?, ? WHERE NOT EXISTS (SELECT 1 FROM outcomes WHERE id = ?)',
      ...[id, outcome, JSON.stringify(target), id],
    )
  }

  /** Newest first, one more than `limit` when there are more. */
  read({ action, actor, after, limit, since, tenant, until }: AuditQuery): AuditEntry[] {
    const conditions: (readonly [string, SqlStorageValue | undefined])[] = [
      ['a.id < ?', after === undefined ? undefined : Number(after)],
      [`COALESCE(a.tenant, json_extract(o.target, '$.id')) = ?`, tenant],
      ['a.actor = ?', actor],
      ['a.action = ?', action?.includes('.') ? action : undefined],
      ["a.action LIKE ? || '.%'", action?.includes('.') ? undefined : action],
      ['a.at >= ?', since],
      ['a.at < ?', until],
    ]
    const given = conditions.filter((condition) => condition[1] !== undefined)
    const where = given.length === 0 ? '' : `WHERE ${given.map(([sql]) => sql).join(' AND ')}`
    return this.#sql
      .exec<Record<string, SqlStorageValue>>(
        `SELECT a.id, a.request_id AS requestId, a.at, a.actor, a.action,
           COALESCE(a.tenant, json_extract(o.target, '$.id')) AS tenant,
           json_patch(a.target, COALESCE(o.target, '{}')) AS target, COALESCE(o.outcome, 'unknown') AS outcome
         FROM actions a LEFT JOIN outcomes o ON o.id = a.id ${where} ORDER BY a.id DESC LIMIT ?`,
        ...given.map(([, value]) => value ?? null),
        limit + 1,
      )
      .toArray()
      .map(({ target, ...row }) => AuditEntry.parse({ ...row, target: JSON.parse(String(target)) }))
  }

  /**
   * Milliseconds until the oldest of the tenant's last counted actions is old enough; at most 0 when they are too few.
   */
  #waitMs(tenant: TenantId, now: number): number {
    const [oldest] = this.#sql
      .exec<{ at: number }>(
        `SELECT at FROM actions WHERE tenant = ? AND actor != 'admin' ORDER BY id DESC LIMIT 1 OFFSET ?`,
        ...[tenant, maxTenantActions - 1],
      )
      .toArray()
    return oldest === undefined ? 0 : Math.min(paceMs, oldest.at + paceMs - now)
  }
}
