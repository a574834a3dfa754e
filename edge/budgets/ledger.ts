import type { SettlementId } from '../../shared/ids.ts'
import type { Settlement } from '../../shared/settlement.ts'
import type { Sql } from '../store/sql.ts'
import { dayOf, minuteOf, monthOf, untilNextDay, untilNextMinute, untilNextMonth } from './calendar.ts'
import { readTerms } from './charge-terms.ts'
import { charge, chargesKeptMs } from './charging.ts'
import { decideGrant, type GrantedAmounts, type LimitLevel, type LimitLevels } from './decide-grant.ts'
import { type Exchange, ExchangeAnswer, exchangeRetryMs, type LeaseRequest } from './exchange.ts'
import { ledgerSchema } from './ledger-schema.ts'
import {
  type Amount,
  type LimitName,
  Limits,
  limitNames,
  noLimits,
  type Standing,
  type Standings,
} from './limits.ts'
import { beginTenancy } from './tenancy.ts'

/** How long an isolate may admit requests with what it was granted, before it must ask again. */
const admitMs = 30_000
/**
 * How long after the last request of a lease must be over its unspent tokens return: time for the nodes to tell what
 * requests of a crashed isolate used.
 */
export const settlementGraceMs = 120_000
const exchangesKeptMs = 5 * exchangeRetryMs
const pruneMs = 60_000

/**
 * The record of one tenant's spent tokens and of the tokens that isolates hold of its budget. For each budget, spent
 * and held together never exceed it: a grant moves tokens from free to held, a charge from held to spent, a return or
 * expiry back to free. Every method is one transaction and safe to repeat.
 */
export class Ledger {
  readonly #sql: Sql
  readonly #now: () => number
  #prunedAt = 0

  constructor(sql: Sql, now: () => number = () => Date.now()) {
    this.#sql = sql
    this.#now = now
    for (const statement of ledgerSchema) sql.all(statement)
  }

  /**
   * Sets the limits. When the tenancy is a new one, nothing is spent or held any more, and usage belongs to the past.
   */
  setLimits(limits: Limits, tenancy?: number): { readonly isNewTenancy: boolean } {
    return this.#sql.atomically(() => {
      const isNewTenancy = tenancy !== undefined && beginTenancy(this.#sql, tenancy)
      this.#sql.all(
        'INSERT INTO policy VALUES (1, ?) ON CONFLICT DO UPDATE SET limits = excluded.limits',
        JSON.stringify(Limits.parse(limits)),
      )
      return { isNewTenancy }
    })
  }

  get limits(): Limits {
    const [row] = this.#sql.all<{ limits: string }>('SELECT limits FROM policy')
    return row === undefined ? noLimits : Limits.parse(JSON.parse(row.limits))
  }

  exchange(exchange: Exchange): ExchangeAnswer {
    return this.#sql.atomically(() => {
      const now = this.#now()
      const [known] = this.#sql.all<{ answer: string }>(
        'SELECT answer FROM exchanges WHERE id = ?',
        exchange.id,
      )
      if (known !== undefined) return ExchangeAnswer.parse(JSON.parse(known.answer))
      this.#expire(now)
      for (const { countedBy, ...told } of exchange.charges)
        this.#charge({ ...told, toldBy: countedBy === 'node' ? 'isolate' : 'estimate', now })
      this.#takeBack(exchange, now)
      const { limits } = this
      const outcome =
        exchange.request === null ? ({ kind: 'none' } as const) : this.#answer(exchange.request, limits, now)
      const answer = { limits, standings: standings(this.#levels(limits, now)), outcome }
      this.#sql.all('INSERT INTO exchanges VALUES (?, ?, ?)', exchange.id, JSON.stringify(answer), now)
      return answer
    })
  }

  /** Charges what nodes tell of their own accord. All of it can then be acknowledged. */
  settle(settlements: readonly Settlement[]): SettlementId[] {
    return this.#sql.atomically(() => {
      const now = this.#now()
      this.#expire(now)
      for (const { terms: text, ...settlement } of settlements) {
        const terms = readTerms(text)
        if (terms !== undefined) this.#charge({ ...settlement, terms, toldBy: 'node', now })
      }
      return settlements.map(({ id }) => id)
    })
  }

  get standings(): Standings {
    return standings(this.#levels(this.limits, this.#now()))
  }

  /** Tokens charged to a UTC day (`2026-11-24`) or month (`2026-11`). */
  spent(period: string): number {
    const [row] = this.#sql.all<{ tokens: number }>('SELECT tokens FROM spent WHERE period = ?', period)
    return row?.tokens ?? 0
  }

  /** The room that isolates hold now. */
  get held(): { readonly tokens: number; readonly slots: number; readonly holders: number } {
    this.#expire(this.#now())
    const [row] = this.#sql.all<{ tokens: number; slots: number; holders: number }>(
      `SELECT coalesce(sum(tokens), 0) AS tokens, coalesce(sum(slots), 0) AS slots,
       count(DISTINCT holder) AS holders FROM leases`,
    )
    return row ?? { tokens: 0, slots: 0, holders: 0 }
  }

  #charge(told: Omit<Parameters<typeof charge>[1], 'leftOn'>): void {
    charge(this.#sql, { ...told, leftOn: (day) => this.#leftOn(day) })
  }

  /** Tokens of a UTC day that are neither spent nor held, of its month as well. */
  #leftOn(day: string): number {
    const { tokensPerDay, tokensPerMonth } = this.limits
    const month = monthOf(day)
    const { heldOnDay, heldInMonth } = this.#heldTokens(day)
    const left = (limit: Amount, taken: number) => (limit === null ? Number.POSITIVE_INFINITY : limit - taken)
    return Math.max(
      0,
      Math.min(
        left(tokensPerDay, this.spent(day) + heldOnDay),
        left(tokensPerMonth, this.spent(month) + heldInMonth),
      ),
    )
  }

  #heldTokens(day: string): {
    readonly heldOnDay: number
    readonly heldInMonth: number
    readonly slots: number
  } {
    const [held] = this.#sql.all<{ heldOnDay: number; heldInMonth: number; slots: number }>(
      `SELECT coalesce(sum(CASE WHEN day = ? THEN tokens END), 0) AS heldOnDay,
       coalesce(sum(CASE WHEN substr(day, 1, 7) = ? THEN tokens END), 0) AS heldInMonth,
       coalesce(sum(slots), 0) AS slots FROM leases`,
      ...[day, monthOf(day)],
    )
    return held ?? { heldOnDay: 0, heldInMonth: 0, slots: 0 }
  }

  #answer(request: LeaseRequest, limits: Limits, now: number): ExchangeAnswer['outcome'] {
    const day = dayOf(now)
    const [lease] = this.#sql.all<{ day: string }>('SELECT day FROM leases WHERE id = ?', request.lease)
    if (lease !== undefined && lease.day !== day) return { kind: 'over' }
    const [others] = this.#sql.all<{ holders: number }>(
      'SELECT count(DISTINCT holder) AS holders FROM leases WHERE holder != ?',
      request.holder,
    )
    const decision = decideGrant(this.#levels(limits, now), { request, holders: 1 + (others?.holders ?? 0) })
    if ('refusal' in decision) return { kind: 'refused', refusal: decision.refusal }
    const { granted } = decision
    const admitForMs = Math.min(admitMs, untilNextDay(now))
    this.#hold(request, { granted, day, expiresAt: now + admitForMs + request.timeoutMs + settlementGraceMs })
    const allowance = { minute: minuteOf(now), forMs: untilNextMinute(now), ...granted.allowance }
    this.#allow(granted, now)
    return { kind: 'granted', grant: { ...granted, lease: request.lease, day, admitForMs, allowance } }
  }

  #hold(
    { holder, lease }: LeaseRequest,
    { day, expiresAt, granted }: { granted: GrantedAmounts; day: string; expiresAt: number },
  ): void {
    this.#sql.all(
      `INSERT INTO leases VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET tokens = tokens + excluded.tokens,
       slots = slots + excluded.slots, expires_at = max(expires_at, excluded.expires_at)`,
      ...[lease, holder, day, granted.tokens ?? 0, granted.slots ?? 0, expiresAt],
    )
  }

  #allow({ allowance }: GrantedAmounts, now: number): void {
    const { requests, tokens } = allowance
    if (requests === null && tokens === null) return
    this.#sql.all(
      `INSERT INTO allowance VALUES (1, ?, ?, ?) ON CONFLICT DO UPDATE SET
       requests = CASE WHEN minute = excluded.minute THEN requests ELSE 0 END + excluded.requests,
       tokens = CASE WHEN minute = excluded.minute THEN tokens ELSE 0 END + excluded.tokens,
       minute = excluded.minute`,
      ...[minuteOf(now), requests ?? 0, tokens ?? 0],
    )
  }

  #takeBack({ allowance, returned }: Exchange, now: number): void {
    for (const { lease, slots, tokens } of returned)
      this.#sql.all(
        'UPDATE leases SET tokens = max(0, tokens - ?), slots = max(0, slots - ?) WHERE id = ?',
        ...[tokens, slots, lease],
      )
    if (allowance !== null && allowance.minute === minuteOf(now))
      this.#sql.all(
        'UPDATE allowance SET requests = max(0, requests - ?), tokens = max(0, tokens - ?) WHERE minute = ?',
        ...[allowance.requests, allowance.tokens, allowance.minute],
      )
  }

  #levels(limits: Limits, now: number): LimitLevels {
    const day = dayOf(now)
    const month = monthOf(day)
    const [given] = this.#sql.all<{ requests: number; tokens: number }>(
      'SELECT requests, tokens FROM allowance WHERE minute = ?',
      minuteOf(now),
    )
    const { heldInMonth, heldOnDay, slots } = this.#heldTokens(day)
    const taken: Record<LimitName, Omit<LimitLevel, 'limit'>> = {
      requestsPerMinute: { taken: given?.requests ?? 0, held: 0, resetMs: untilNextMinute(now) },
      tokensPerMinute: { taken: given?.tokens ?? 0, held: 0, resetMs: untilNextMinute(now) },
      concurrentRequests: { taken: slots, held: slots, resetMs: null },
      tokensPerDay: { taken: this.spent(day) + heldOnDay, held: heldOnDay, resetMs: untilNextDay(now) },
      tokensPerMonth: {
        taken: this.spent(month) + heldInMonth,
        held: heldInMonth,
        resetMs: untilNextMonth(now),
      },
    }
    return Object.fromEntries(
      limitNames.flatMap((name) => {
        const limit: Amount = limits[name]
        return limit === null ? [] : [[name, { limit, ...taken[name] }]]
      }),
    )
  }

  #expire(now: number): void {
    this.#sql.all('DELETE FROM leases WHERE expires_at <= ?', now)
    if (now - this.#prunedAt < pruneMs) return
    this.#prunedAt = now
    this.#sql.all('DELETE FROM exchanges WHERE at < ?', now - exchangesKeptMs)
    this.#sql.all('DELETE FROM charges WHERE at < ?', now - chargesKeptMs)
  }
}

function standings(levels: LimitLevels): Standings {
  return Object.fromEntries(
    Object.entries(levels).map(([name, { limit, resetMs, taken }]): [string, Standing] => [
      name,
      { limit, left: Math.max(0, limit - taken), resetMs },
    ]),
  )
}
