import { JobId } from '../../shared/api/fine-tuning.ts'
import { BackboneDigest, TenantId } from '../../shared/ids.ts'
import { TrainerId, trainerLeaseMs } from '../../shared/training/trainer-protocol.ts'
import type { Sql, SqlValue } from '../store/sql.ts'

const schema: readonly string[] = [
  `CREATE TABLE IF NOT EXISTS work (
    tenant TEXT NOT NULL, job TEXT NOT NULL, backbone TEXT NOT NULL, queued_at INTEGER NOT NULL,
    fence INTEGER NOT NULL DEFAULT 0, trainer TEXT, lease_until INTEGER NOT NULL DEFAULT 0, PRIMARY KEY (tenant, job)
  ) STRICT`,
  `CREATE TABLE IF NOT EXISTS fences (one INTEGER PRIMARY KEY CHECK (one = 1), last INTEGER NOT NULL) STRICT`,
  'INSERT OR IGNORE INTO fences VALUES (1, 0)',
  // When each tenant's work was last given out: the tenant that waited longest comes first.
  `CREATE TABLE IF NOT EXISTS turns (tenant TEXT PRIMARY KEY, at INTEGER NOT NULL) STRICT`,
  // The speed of the trainer of each backbone that reported last.
  'CREATE TABLE IF NOT EXISTS speeds (backbone TEXT PRIMARY KEY, tokens_per_second REAL NOT NULL) STRICT',
  `CREATE TABLE IF NOT EXISTS trainers (id TEXT PRIMARY KEY, backbone TEXT NOT NULL, seen_at INTEGER NOT NULL) STRICT`,
]

/** A trainer that has not been heard of for so long is forgotten. */
const trainerForgottenMs = 10 * 60_000

export interface JobLease {
  readonly tenant: TenantId
  readonly job: JobId
  readonly fence: number
}

export interface QueuedWork extends JobLease {
  readonly backbone: BackboneDigest
  /** Milliseconds since 1970. */
  readonly queuedAt: number
  /** Who trains it now; null while it waits. */
  readonly trainer: TrainerId | null
}

export interface TrainerSeen {
  readonly id: TrainerId
  readonly backbone: BackboneDigest
  /** Milliseconds since 1970. */
  readonly seenAt: number
}

/** How fast trainers of a backbone are. */
export interface TrainingSpeed {
  readonly backbone: BackboneDigest
  readonly tokensPerSecond: number
}

interface Row extends Record<string, SqlValue> {
  readonly tenant: string
  readonly job: string
  readonly backbone: string
  readonly queued_at: number
  readonly fence: number
  readonly trainer: string | null
  readonly lease_until: number
}

/** The jobs of all tenants that wait for a trainer or are being trained, and who has them. */
export class WorkQueue {
  readonly #sql: Sql
  readonly #now: () => number
  readonly leaseMs: number

  constructor(
    sql: Sql,
    {
      leaseMs = trainerLeaseMs,
      now = Date.now,
    }: { readonly now?: () => number; readonly leaseMs?: number } = {},
  ) {
    this.leaseMs = leaseMs
    for (const statement of schema) sql.all(statement)
    this.#sql = sql
    this.#now = now
  }

  /** Queues a job; one that is queued already keeps its place. */
  add({
    backbone,
    job,
    tenant,
  }: {
    readonly tenant: TenantId
    readonly job: JobId
    readonly backbone: BackboneDigest
  }): void {
    this.#sql.all(
      'INSERT OR IGNORE INTO work (tenant, job, backbone, queued_at) VALUES (?, ?, ?, ?)',
      ...[tenant, job, backbone, this.#now()],
    )
  }

  /** The job is over or paused. */
  remove(tenant: TenantId, job: JobId): void {
    this.#sql.all('DELETE FROM work WHERE tenant = ? AND job = ?', tenant, job)
  }

  /** The trainer of the lease has no more to do with the job, which may have been queued again meanwhile. */
  end({ fence, job, tenant }: JobLease): void {
    this.#sql.all('DELETE FROM work WHERE tenant = ? AND job = ? AND fence = ?', tenant, job, fence)
  }

  /** The job may not be trained now; it keeps its place and is offered again when `waitMs` have passed. */
  defer({ fence, job, tenant }: JobLease, waitMs: number): void {
    this.#sql.all(
      'UPDATE work SET lease_until = ?, trainer = NULL WHERE tenant = ? AND job = ? AND fence = ?',
      ...[this.#now() + waitMs, tenant, job, fence],
    )
  }

  /**
   * Gives a trainer the next job for its backbone. It is the oldest job without a living lease of the tenant that was
   * served longest ago. Each lease has a higher fence than all before it.
   */
  claim(trainer: TrainerId, backbone: BackboneDigest): JobLease | undefined {
    const now = this.#now()
    return this.#sql.atomically(() => {
      this.#sql.all('DELETE FROM trainers WHERE seen_at < ?', now - trainerForgottenMs)
      this.#sql.all(
        'INSERT INTO trainers (id, backbone, seen_at) VALUES (?, ?, ?) ON CONFLICT (id) DO UPDATE SET backbone = excluded.backbone, seen_at = excluded.seen_at',
        ...[trainer, backbone, now],
      )
      const [next] = this.#sql.all<Row>(
        `SELECT work.* FROM work LEFT JOIN turns ON turns.tenant = work.tenant
          WHERE backbone = ? AND lease_until <= ? ORDER BY COALESCE(turns.at, 0), queued_at, job LIMIT 1`,
        ...[backbone, now],
      )
      if (next === undefined) return undefined
      this.#sql.all('UPDATE fences SET last = last + 1')
      const fence = this.#sql.all<{ last: number }>('SELECT last FROM fences')[0]?.last ?? 0
      this.#sql.all(
        'UPDATE work SET fence = ?, trainer = ?, lease_until = ? WHERE tenant = ? AND job = ?',
        ...[fence, trainer, now + this.leaseMs, next.tenant, next.job],
      )
      this.#sql.all(
        'INSERT INTO turns (tenant, at) VALUES (?, ?) ON CONFLICT (tenant) DO UPDATE SET at = excluded.at',
        ...[next.tenant, now],
      )
      return { tenant: TenantId.parse(next.tenant), job: JobId.parse(next.job), fence }
    })
  }

  /**
   * Prolongs a lease. False where another trainer has the job, or nobody is to have it. `tokensPerSecond`: the
   * trainer's speed.
   */
  renew({ fence, job, tenant }: JobLease, tokensPerSecond?: number): boolean {
    const now = this.#now()
    const [row] = this.#sql.all<Row>(
      'SELECT * FROM work WHERE tenant = ? AND job = ? AND fence = ?',
      tenant,
      job,
      fence,
    )
    if (row === undefined) return false
    this.#sql.all(
      'UPDATE work SET lease_until = ? WHERE tenant = ? AND job = ?',
      now + this.leaseMs,
      tenant,
      job,
    )
    if (tokensPerSecond !== undefined)
      this.#sql.all(
        'INSERT INTO speeds VALUES (?, ?) ON CONFLICT DO UPDATE SET tokens_per_second = excluded.tokens_per_second',
        ...[row.backbone, tokensPerSecond],
      )
    if (row.trainer !== null) this.#sql.all('UPDATE trainers SET seen_at = ? WHERE id = ?', now, row.trainer)
    return true
  }

  /** Tokens that a trainer of the backbone trains in a second; undefined where none has trained yet. */
  speedOf(backbone: BackboneDigest): number | undefined {
    return this.#sql.all<{ speed: number }>(
      'SELECT tokens_per_second AS speed FROM speeds WHERE backbone = ?',
      backbone,
    )[0]?.speed
  }

  /** The trainer stops: another one may take the job at once. */
  release({ fence, job, tenant }: JobLease): void {
    this.#sql.all(
      'UPDATE work SET lease_until = 0, trainer = NULL WHERE tenant = ? AND job = ? AND fence = ?',
      ...[tenant, job, fence],
    )
  }

  /** The jobs that wait or run, in order of arrival. */
  list(limit: number): readonly QueuedWork[] {
    const now = this.#now()
    return this.#sql.all<Row>('SELECT * FROM work ORDER BY queued_at, job LIMIT ?', limit).map((row) => ({
      tenant: TenantId.parse(row.tenant),
      job: JobId.parse(row.job),
      fence: row.fence,
      backbone: BackboneDigest.parse(row.backbone),
      queuedAt: row.queued_at,
      trainer: row.lease_until > now && row.trainer !== null ? TrainerId.parse(row.trainer) : null,
    }))
  }

  /** Those heard of lately. */
  trainers(): readonly TrainerSeen[] {
    return this.#sql
      .all<{ id: string; backbone: string; seen_at: number }>(
        'SELECT * FROM trainers WHERE seen_at >= ? ORDER BY id',
        this.#now() - trainerForgottenMs,
      )
      .map(({ backbone, id, seen_at: seenAt }) => ({
        backbone: BackboneDigest.parse(backbone),
        id: TrainerId.parse(id),
        seenAt,
      }))
  }

  speeds(): readonly TrainingSpeed[] {
    return this.#sql
      .all<{ backbone: string; speed: number }>(
        'SELECT backbone, tokens_per_second AS speed FROM speeds ORDER BY backbone',
      )
      .map(({ backbone, speed: tokensPerSecond }) => ({
        backbone: BackboneDigest.parse(backbone),
        tokensPerSecond,
      }))
  }
}
