import { settlementKeepMs } from '../../shared/settlement.ts'
import type { Sql } from '../store/sql.ts'
import { dayOf, monthOf } from './calendar.ts'
import { type ChargeTerms, type Counts, mostTokensIn, payable, tokensIn } from './charge-terms.ts'
import type { Charge } from './exchange.ts'
import { bucketOf, emptyHistogram, readHistogram } from './first-token.ts'
import { isFailure, isRefusal } from './outcomes.ts'
import { isOfRunningTenancy } from './tenancy.ts'
import { recordTrial } from './trial-table.ts'

/**
 * Who told what a choice used. `isolate`: the one that served it, with the node's count; final. `estimate`: the same
 * isolate with what it saw, while the node's count is out of reach. `node`: a node on its own.
 */
type ToldBy = 'isolate' | 'estimate' | 'node'

interface Charged {
  readonly told_by: ToldBy
  readonly prompt: number
  readonly cached: number
  readonly prompt_rows: number
  readonly completion: number
  readonly failed: number
  readonly timed: number
  [column: string]: string | number | null
}

/** No node tells of generations longer ago than this, so older charges need not be remembered. */
export const chargesKeptMs = 2 * settlementKeepMs

interface Told extends Omit<Charge, 'countedBy'> {
  readonly toldBy: ToldBy
  readonly now: number
  /** Tokens that the limits leave for a day: neither spent nor held. */
  readonly leftOn: (day: string) => number
}

/**
 * Charges a choice, once: to its day and month, to the lease it was admitted under, to usage. With the first word of
 * its isolate the rest of its reservation is free again, and not before: until then a node may tell of more. If a
 * choice has an estimate and several attempts, the largest count is charged. A node's count beyond an estimate enters
 * the usage whole. It enters the spent tokens as far as the limits have room: another request may hold the tokens that
 * the estimate freed.
 */
export function charge(sql: Sql, told: Told): void {
  const { id, leftOn, terms, now, outcome, toldBy, usage } = told
  // A settlement so late that its charge may be forgotten again.
  if (toldBy === 'node' && now - terms.at > settlementKeepMs + 600_000) return
  const choice = id.slice(0, id.lastIndexOf('.'))
  const [before] = sql.all<Charged>('SELECT * FROM charges WHERE choice = ?', choice)
  const isEstimated = before?.told_by === 'estimate'
  if (before?.told_by === 'isolate' || (isEstimated && toldBy === 'estimate')) return
  const charged = {
    prompt: before?.prompt ?? 0,
    cached: before?.cached ?? 0,
    rows: before?.prompt_rows ?? 0,
    completion: before?.completion ?? 0,
  }
  // A node cannot tell a client that left from an isolate that took another node's answer.
  const isNodeAlone = toldBy === 'node' && !isEstimated
  const counts = payable(terms, usage, {
    leftByClient: !isNodeAlone && outcome === 'client_closed_request',
    outcome,
  })
  // A node may speak of an attempt that lost, of which nothing was seen.
  const after =
    toldBy === 'isolate' || before === undefined
      ? counts
      : // An estimate may not know what was cached; the node does.
        {
          ...larger(charged, counts),
          cached: isEstimated ? counts.cached : Math.min(charged.cached, counts.cached),
        }
  // How it ended for the client, its isolate knows best.
  const failed = isEstimated ? before.failed : isFailure(outcome) ? 1 : 0
  const timed = before?.timed === 1 || told.firstTokenMs !== null ? 1 : 0
  const by = isEstimated && toldBy === 'node' ? 'estimate' : toldBy
  sql.all(
    `INSERT INTO charges VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET told_by = excluded.told_by,
     prompt = excluded.prompt, cached = excluded.cached, prompt_rows = excluded.prompt_rows, completion = excluded.completion,
     failed = excluded.failed, timed = excluded.timed`,
    ...[choice, by, after.prompt, after.cached, after.rows, after.completion, failed, timed, now],
  )
  const day = dayPaying(terms, now)
  const tokens = tokensIn(after, terms) - tokensIn(charged, terms)
  const isOwn = isOfRunningTenancy(sql, terms.tenancy)
  if (isOwn && isEstimated) spend(sql, day, Math.min(tokens, leftOn(day)))
  else if (isOwn) {
    spend(sql, day, tokens)
    release(sql, terms.lease, toldBy === 'node' ? tokens : mostTokensIn(terms) - tokensIn(charged, terms))
  }
  const isRequest = terms.ownRequest === true || choice.endsWith('.0')
  const turned = failed - (before?.failed ?? 0)
  const isTold = turned === 0 || (terms.ownRequest !== true && hasFailedOther(sql, choice))
  const delta = {
    requests: isRequest && before === undefined && !isRefusal(outcome) ? 1 : 0,
    errors: isTold ? 0 : turned,
    prompt: after.prompt - charged.prompt,
    cached: after.cached - charged.cached,
    rows: after.rows - charged.rows,
    completion: after.completion - charged.completion,
    firstTokenMs: isRequest && before?.timed !== 1 ? told.firstTokenMs : null,
  }
  recordUsage(sql, { table: isOwn ? 'usage' : 'past_usage', terms: { ...terms, day }, ...delta })
  const { model: alias, trial } = terms
  if (isOwn && trial !== undefined) recordTrial(sql, { ...delta, ...trial, alias })
}

/** Whether another choice of the same request has failed: a request of one model is one error, whichever fails. */
function hasFailedOther(sql: Sql, choice: string): boolean {
  const request = choice.slice(0, choice.lastIndexOf('.'))
  const [other] = sql.all(
    'SELECT 1 FROM charges WHERE choice > ? AND choice < ? AND choice != ? AND failed = 1 LIMIT 1',
    ...[`${request}.`, `${request}/`, choice],
  )
  return other !== undefined
}

const larger = (one: Counts, other: Counts): Omit<Counts, 'cached'> => ({
  prompt: Math.max(one.prompt, other.prompt),
  rows: Math.max(one.rows, other.rows),
  completion: Math.max(one.completion, other.completion),
})

/** The day of admission; an edge whose clock is ahead cannot charge tomorrow. */
function dayPaying({ day }: ChargeTerms, now: number): string {
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

interface UsageDelta extends Counts {
  readonly table: 'usage' | 'past_usage'
  readonly terms: ChargeTerms
  readonly requests: number
  readonly errors: number
  readonly firstTokenMs: number | null
}

function recordUsage(sql: Sql, { terms: { day, key, model }, table, ...delta }: UsageDelta): void {
  const { cached, completion, errors, firstTokenMs, prompt, requests, rows } = delta
  if (
    firstTokenMs === null &&
    [requests, errors, prompt, cached, rows, completion].every((count) => count === 0)
  )
    return
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
    `INSERT INTO ${table} VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET
     requests = requests + excluded.requests, errors = errors + excluded.errors, prompt = prompt + excluded.prompt,
     cached = cached + excluded.cached, prompt_rows = prompt_rows + excluded.prompt_rows, completion = completion + excluded.completion, first_token_ms = first_token_ms + excluded.first_token_ms,
     first_tokens = excluded.first_tokens`,
    ...[day, key, model, requests, errors, prompt, cached, rows, completion],
    ...[delta.firstTokenMs ?? 0, JSON.stringify(histogram)],
  )
}
