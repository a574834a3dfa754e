import { settlementKeepMs } from '../../shared/settlement.ts'
import { dayOf, monthOf } from './clock.ts'
import type { Charge } from './exchange.ts'
import { bucketOf, emptyHistogram, readHistogram } from './first-token.ts'
import { type Meter, payable } from './meter.ts'
import type { Sql } from './sql.ts'
import { isOfRunningTenancy } from './tenancy.ts'

/**
 * Who told what a choice used. `isolate`: the one that served it, with the node's count; final. `estimate`: the same,
 * where the node's count was lost: never more than that. `node`: a node on its own. Of estimate and several attempts at
 * one choice the largest counts, which is never more than was reserved.
 */
type ToldBy = 'isolate' | 'estimate' | 'node'

interface Charged {
  readonly told_by: ToldBy
  readonly prompt: number
  readonly completion: number
  readonly failed: number
  readonly timed: number
  [column: string]: string | number | null
}

/** What a client brings about itself is no failure of the service. */
const fine: ReadonlySet<string> = new Set(['stop', 'length', 'client_closed_request'])

/** Longer ago than any node still tells: what was charged then need not be remembered. */
export const chargesKeptMs = 2 * settlementKeepMs

/**
 * Charges a choice, once: to its day and month, to the lease it was admitted under, to usage. What of its reservation it
 * did not use is free again with its isolate's word, which is final, and not before: until then a node may tell of more.
 */
export function charge(sql: Sql, told: Omit<Charge, 'countedBy'> & { toldBy: ToldBy; now: number }): void {
  const { id, meter, now, outcome, toldBy, usage } = told
  // A settlement so late that its charge may be forgotten again.
  if (toldBy === 'node' && now - meter.at > settlementKeepMs + 600_000) return
  const choice = id.slice(0, id.lastIndexOf('.'))
  const [before] = sql.all<Charged>('SELECT * FROM charges WHERE choice = ?', choice)
  const isEstimated = before?.told_by === 'estimate'
  if (before?.told_by === 'isolate' || (isEstimated && toldBy === 'estimate')) return
  const counts = payable(meter, usage)
  // A node may speak of an attempt that lost, of which nothing was seen.
  const after =
    before !== undefined && toldBy !== 'isolate'
      ? {
          prompt: Math.max(before.prompt, counts.prompt),
          completion: Math.max(before.completion, counts.completion),
        }
      : counts
  // How it ended for the client, its isolate knows best.
  const failed = isEstimated ? before.failed : fine.has(outcome) ? 0 : 1
  const timed = before?.timed === 1 || told.firstTokenMs !== null ? 1 : 0
  sql.all(
    `INSERT INTO charges VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET told_by = excluded.told_by,
     prompt = excluded.prompt, completion = excluded.completion, failed = excluded.failed, timed = excluded.timed`,
    ...[choice, isEstimated ? 'estimate' : toldBy, after.prompt, after.completion, failed, timed, now],
  )
  const day = dayPaying(meter, now)
  const prompt = after.prompt - (before?.prompt ?? 0)
  const completion = after.completion - (before?.completion ?? 0)
  const isOwn = isOfRunningTenancy(sql, meter.tenancy)
  if (isOwn) {
    spend(sql, day, prompt + completion)
    const counted = before === undefined ? 0 : before.prompt + before.completion
    const isFinal = toldBy === 'isolate'
    release(sql, meter.lease, isFinal ? meter.prompt + meter.completion - counted : prompt + completion)
  }
  const first = choice.endsWith('.0')
  recordUsage(sql, {
    table: isOwn ? 'usage' : 'past_usage',
    meter: { ...meter, day },
    requests: first && before === undefined ? 1 : 0,
    errors: first ? failed - (before?.failed ?? 0) : 0,
    prompt,
    completion,
    firstTokenMs: first && before?.timed !== 1 ? told.firstTokenMs : null,
  })
}

/** The day of admission; an edge whose clock is ahead cannot charge tomorrow. */
function dayPaying({ day }: Meter, now: number): string {
  const today = dayOf(now)
  return day > today ? today : day
}

function spend(sql: Sql, day: string, tokens: number): void {
  if (tokens === 0) return
  for (const period of [day, monthOf(day)])
    sql.all(
      'INSERT INTO spent VALUES (?, ?) ON CONFLICT DO UPDATE SET tokens = tokens + excluded.tokens',
      period,
      tokens,
    )
}

function release(sql: Sql, lease: string | null, tokens: number): void {
  if (lease !== null && tokens !== 0)
    sql.all('UPDATE leases SET tokens = max(0, tokens - ?) WHERE id = ?', tokens, lease)
}

interface UsageDelta {
  readonly table: 'usage' | 'past_usage'
  readonly meter: Meter
  readonly requests: number
  readonly errors: number
  readonly prompt: number
  readonly completion: number
  readonly firstTokenMs: number | null
}

function recordUsage(sql: Sql, { meter: { day, key, model }, table, ...delta }: UsageDelta): void {
  const [row] = sql.all<{ first_tokens: string }>(
    `SELECT first_tokens FROM ${table} WHERE day = ? AND key = ? AND model = ?`,
    ...[day, key, model],
  )
  const histogram = row === undefined ? emptyHistogram() : readHistogram(row.first_tokens)
  if (delta.firstTokenMs !== null) {
    const at = bucketOf(delta.firstTokenMs)
    histogram[at] = (histogram[at] ?? 0) + 1
  }
  sql.all(
    `INSERT INTO ${table} VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET
     requests = requests + excluded.requests, errors = errors + excluded.errors, prompt = prompt + excluded.prompt,
     completion = completion + excluded.completion, first_token_ms = first_token_ms + excluded.first_token_ms,
     first_tokens = excluded.first_tokens`,
    ...[day, key, model, delta.requests, delta.errors, delta.prompt, delta.completion],
    ...[delta.firstTokenMs ?? 0, JSON.stringify(histogram)],
  )
}
