import type { JobEvent, JobId } from '../../shared/api/fine-tuning.ts'
import { JobEvent as JobEventSchema } from '../../shared/api/fine-tuning.ts'
import type { TrainerReport } from '../../shared/training/trainer-protocol.ts'
import type { Sql, SqlValue } from '../store/sql.ts'

interface Row extends Record<string, SqlValue> {
  readonly seq: number
  readonly at: number
  readonly level: string
  readonly type: string
  readonly message: string
  readonly data: string
}

/** Events of one job that are kept: the oldest go. */
const maxEvents = 5_000

export type NewEvent = Pick<JobEvent, 'level' | 'message' | 'type' | 'data'>

export const message = (text: string, level: JobEvent['level'] = 'info'): NewEvent => ({
  level,
  message: text,
  type: 'message',
  data: {},
})

/** A step's losses, as an event. `steps`: those of the whole job. */
export function metricsEvent(
  { step, trainLoss, validLoss }: Extract<TrainerReport, { type: 'progress' }>['metrics'][number],
  steps: number | undefined,
): NewEvent {
  const losses = [
    ...(trainLoss === undefined ? [] : [`training loss=${trainLoss.toFixed(4)}`]),
    ...(validLoss === undefined ? [] : [`validation loss=${validLoss.toFixed(4)}`]),
  ]
  return {
    level: 'info',
    type: 'metrics',
    message: `Step ${step}${steps === undefined ? '' : `/${steps}`}: ${losses.join(', ')}`,
    data: { step, total_steps: steps ?? null, train_loss: trainLoss ?? null, valid_loss: validLoss ?? null },
  }
}

const idOf = (seq: number): string => `ftevent-${String(seq).padStart(10, '0')}`
export const seqOf = (id: string): number | undefined => {
  const digits = /^ftevent-([0-9]{10})$/.exec(id)?.[1]
  return digits === undefined ? undefined : Number(digits)
}

/** The events of a tenant's jobs, in order. */
export class EventTable {
  readonly #sql: Sql

  constructor(sql: Sql) {
    this.#sql = sql
  }

  add(job: JobId, events: readonly NewEvent[]): void {
    const at = Math.floor(Date.now() / 1_000)
    for (const { data, level, message: text, type } of events)
      this.#sql.all(
        'INSERT INTO events (job, at, level, type, message, data) VALUES (?, ?, ?, ?, ?, ?)',
        ...[job, at, level, type, text, JSON.stringify(data)],
      )
    this.#sql.all(
      'DELETE FROM events WHERE job = ? AND seq <= (SELECT seq FROM events WHERE job = ? ORDER BY seq DESC LIMIT 1 OFFSET ?)',
      ...[job, job, maxEvents],
    )
  }

  /** Adds the losses that the trainer at work has not told before: it tells them again where an answer was lost. */
  addLosses(job: JobId, losses: readonly NewEvent[]): void {
    const told = this.#sql.all<{ data: string }>(
      `SELECT data FROM events WHERE job = ? AND type = 'metrics'
        AND seq > (SELECT COALESCE(MAX(seq), 0) FROM events WHERE job = ? AND type = 'message')`,
      ...[job, job],
    )
    const known = new Set(told.map(({ data }) => data))
    this.add(
      job,
      losses.filter(({ data }) => !known.has(JSON.stringify(data))),
    )
  }

  /** Newest first, those older than `before`. */
  newest(
    job: JobId,
    { before, limit }: { readonly before: number | undefined; readonly limit: number },
  ): JobEvent[] {
    return this.#sql
      .all<Row>(
        'SELECT * FROM events WHERE job = ? AND seq < ? ORDER BY seq DESC LIMIT ?',
        ...[job, before ?? Number.MAX_SAFE_INTEGER, limit],
      )
      .map(eventOf)
  }

  /** Oldest first, those younger than `after`. */
  since(job: JobId, { after, limit }: { readonly after: number; readonly limit: number }): JobEvent[] {
    return this.#sql
      .all<Row>('SELECT * FROM events WHERE job = ? AND seq > ? ORDER BY seq LIMIT ?', ...[job, after, limit])
      .map(eventOf)
  }
}

function eventOf({ at, data, level, message: text, seq, type }: Row): JobEvent {
  return JobEventSchema.parse({
    id: idOf(seq),
    object: 'fine_tuning.job.event',
    created_at: at,
    level,
    message: text,
    type,
    data: JSON.parse(data),
  })
}
