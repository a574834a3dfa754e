import type fc from 'fast-check'
import { boundTokens } from '../../edge/budgets/admission.ts'
import { dayOf, minuteOf } from '../../edge/budgets/calendar.ts'
import { type Exchange, type ExchangeAnswer, tokensOfCharge } from '../../edge/budgets/exchange.ts'
import { Ledger, settlementGraceMs } from '../../edge/budgets/ledger.ts'
import type { Limits } from '../../edge/budgets/limits.ts'
import { AccountReservation } from '../../edge/budgets/reservation.ts'
import { TenantAccount } from '../../edge/budgets/tenant-account.ts'
import type { Sql } from '../../edge/store/sql.ts'
import { KeyId, newRequestId, type SettlementId, settlementId, TenantId } from '../../shared/ids.ts'
import type { Settlement } from '../../shared/settlement.ts'
import { memorySql } from '../fakes/memory-sql.ts'

const tenant = TenantId.parse('acme')
const key = KeyId.parse('key_000000000000')
const timeoutMs = 60_000
const promptTokens = 1

/** One choice of a request, as its node sees it. */
interface Work {
  readonly id: SettlementId
  readonly choice: number
  /** The most tokens that it may use. */
  readonly most: number
  readonly terms: string
  /** UTC day that pays. */
  readonly day: string
  readonly startedAt: number
  readonly request: Running
  /** Tokens used, once it is over. */
  used: number | undefined
  acknowledged: boolean
  endedAt: number
}

interface Running {
  readonly reservation: AccountReservation
  readonly isolate: Isolate
  readonly works: Work[]
}

interface Isolate {
  readonly account: TenantAccount
  readonly clockOffMs: number
  alive: boolean
}

const shareOf = ({ most }: Work, share: number) => Math.max(2, Math.round(most * share))

/** A node counts the prompt of each choice; its first choice pays it. */
const usageOf = ({ choice, used = 0 }: Work) => ({
  promptTokens,
  completionTokens: used - (choice === 0 ? promptTokens : 0),
})

/** The fate of a message between an isolate and the ledger. */
export type Fate = 'arrives' | 'lost' | 'answer lost'

/**
 * A tenant's ledger, isolates that hold leases of it, and a node: the real ledger and accounts over a network, clocks
 * and crashes that a test directs. The node is the truth about what was used.
 */
export class BudgetWorld {
  now: number
  readonly works: Work[] = []
  /** The last word of isolates to the ledger on the tokens that choices used, by the nodes' counts. */
  readonly told = new Map<string, number>()
  readonly isolates: Isolate[] = []
  readonly limits: Limits
  readonly admissions = new Map<number, { requests: number; tokens: number }>()
  fate: Fate = 'arrives'
  refused = 0
  unavailable = 0
  readonly #sql: Sql = memorySql()
  readonly #scheduler: fc.Scheduler
  #ledger: Ledger
  #ids = 0

  constructor({ limits, now, scheduler }: { limits: Limits; now: number; scheduler: fc.Scheduler }) {
    this.limits = limits
    this.now = now
    this.#scheduler = scheduler
    this.#ledger = this.#open()
    this.#ledger.setLimits(limits)
  }

  get ledger(): Ledger {
    return this.#ledger
  }

  /** The Durable Object starts anew; its storage stays. */
  restart(): void {
    this.#ledger = this.#open()
  }

  isolate(at: number, clockOffMs: number): Isolate {
    const known = this.isolates[at]
    if (known?.alive === true) return known
    const isolate: Isolate = {
      clockOffMs,
      alive: true,
      account: new TenantAccount({
        holder: this.#newId(),
        timeoutMs,
        now: () => this.now + clockOffMs,
        newId: () => this.#newId(),
      }),
    }
    this.isolates[at] = isolate
    return isolate
  }

  /** A request for `n` choices of at most `maxTokens` each and a prompt of one token; in the background. */
  async request(isolate: Isolate, { maxTokens, n }: { n: number; maxTokens: number }): Promise<void> {
    const bound = { model: 'tone', prompts: [promptTokens], promptRows: 0, n, maxTokens }
    const { account } = isolate
    const need = boundTokens(bound)
    try {
      const reserved = await account.admit(need, this.#owner(isolate))
      const minute = this.admissions.get(minuteOf(this.now)) ?? { requests: 0, tokens: 0 }
      this.admissions.set(minuteOf(this.now), { requests: minute.requests + 1, tokens: minute.tokens + need })
      if (!isolate.alive) return
      const requestId = newRequestId()
      const reservation = new AccountReservation({ account, reserved, bound, key, requestId, at: this.now })
      const request: Running = { reservation, isolate, works: [] }
      for (let choice = 0; choice < n; choice++)
        request.works.push({
          id: settlementId({ requestId, choice, attempt: 0 }),
          choice,
          most: maxTokens + (choice === 0 ? promptTokens : 0),
          terms: reservation.terms(choice),
          day: reserved.day,
          startedAt: this.now,
          request,
          used: undefined,
          acknowledged: false,
          endedAt: 0,
        })
      this.works.push(...request.works)
      if (account.wantsRenewal) await account.renew(this.#owner(isolate))
    } catch (thrown) {
      if (!(thrown instanceof Error) || !('code' in thrown)) throw thrown
      if (thrown.code === 'control_unavailable') this.unavailable += 1
      else this.refused += 1
    }
  }

  /** A node ends the n-th running choice; `told`: its isolate hears the count, else its client had left. */
  finish(at: number, { share, told }: { share: number; told: boolean }): void {
    const work = this.#running(at)
    if (work !== undefined) this.#end(work, { used: shareOf(work, share), told })
  }

  /** The n-th running choice's request fails for its client and costs nothing, though nodes have begun on it. */
  fail(at: number, share: number): void {
    const work = this.#running(at)
    if (work === undefined) return
    const { isolate, reservation, works } = work.request
    for (const each of works) if (each.used === undefined) this.#stop(each, shareOf(each, share))
    if (isolate.alive) reservation.close('node_error')
  }

  flush(isolate: Isolate): Promise<void> {
    return isolate.account
      .flush({
        owner: this.#owner(isolate),
        collect: async (_node, ids) => {
          await this.#scheduler.schedule(Promise.resolve())
          const asked = this.works.filter(({ id }) => ids.includes(id))
          return {
            settlements: asked
              .filter(({ used }) => used !== undefined)
              .map((work) => this.#settlementOf(work)),
            running: asked.filter(({ used }) => used === undefined).map(({ id }) => id),
          }
        },
      })
      .catch(() => undefined)
  }

  /** Time passes; nodes give up what takes too long, and tell the ledger what nobody has acknowledged for 10 s. */
  advance(ms: number): void {
    for (let left = ms; left > 0; left -= 5_000) {
      this.now += Math.min(left, 5_000)
      for (const work of this.works)
        if (work.used === undefined && this.now - work.startedAt >= timeoutMs)
          this.#end(work, { used: work.most, told: false })
      this.heartbeat(10_000)
    }
  }

  heartbeat(minAgeMs: number): void {
    const offered = this.works.filter(
      ({ acknowledged, endedAt, used }) =>
        used !== undefined && !acknowledged && this.now - endedAt >= minAgeMs,
    )
    // A heartbeat without settlements reaches no budget.
    if (offered.length === 0) return
    const ids = new Set(this.#ledger.settle(offered.map((work) => this.#settlementOf(work))))
    for (const work of offered) work.acknowledged = ids.has(work.id)
  }

  /** Everything ends, everyone tells, every lease of the dead runs out. */
  async quiesce(): Promise<void> {
    this.fate = 'arrives'
    for (const work of this.works)
      if (work.used === undefined) this.#end(work, { used: work.most, told: true })
    await this.#scheduler.waitIdle()
    for (let round = 0; round < 3; round++) {
      for (const isolate of this.isolates) {
        if (isolate === undefined || !isolate.alive) continue
        isolate.account.release()
        const flushed = this.flush(isolate)
        await this.#scheduler.waitIdle()
        await flushed
      }
      this.advance(40_000)
    }
    this.advance(timeoutMs + settlementGraceMs + 400_000)
    this.heartbeat(0)
  }

  /**
   * Tokens that choices which a UTC day pays have used, and may still use: an isolate's word where the ledger has it, a
   * node's count where it has none, and all that may be used of what runs.
   */
  committed(day: string): number {
    return this.works
      .filter((work) => work.day === day)
      .reduce((sum, { id, most, used }) => sum + (this.told.get(id) ?? used ?? most), 0)
  }

  /** Requests of which something runs. */
  get running(): number {
    return new Set(this.works.filter(({ used }) => used === undefined).map(({ request }) => request)).size
  }

  get day(): string {
    return dayOf(this.now)
  }

  #open(): Ledger {
    return new Ledger(this.#sql, () => this.now)
  }

  #newId(): string {
    this.#ids += 1
    return `00000000-0000-4000-8000-${String(this.#ids).padStart(12, '0')}`
  }

  #running(at: number): Work | undefined {
    const running = this.works.filter(({ used }) => used === undefined)
    return running[at % Math.max(1, running.length)]
  }

  #stop(work: Work, used: number): void {
    work.used = used
    work.endedAt = this.now
  }

  #end(work: Work, { told, used }: { used: number; told: boolean }): void {
    this.#stop(work, used)
    const { isolate, reservation, works } = work.request
    if (!isolate.alive) return
    const use = { settlement: work.id, node: 'node', outcome: 'stop', firstTokenMs: 1 }
    reservation.settle(
      work.choice,
      told
        ? { ...use, usage: usageOf(work), countedBy: 'node' }
        : { ...use, usage: { promptTokens, completionTokens: 1 }, countedBy: 'edge' },
    )
    if (works.every((each) => each.used !== undefined)) reservation.close('stop')
  }

  #settlementOf(work: Work): Settlement {
    const { endedAt, id, terms } = work
    const requestId = newRequestId()
    return { id, requestId, tenant, terms, usage: usageOf(work), outcome: 'stop', firstTokenMs: 1, endedAt }
  }

  /** The ledger over a network that delays and loses; a dead isolate hears nothing. */
  #owner(isolate: Isolate) {
    return {
      exchange: async (exchange: Exchange): Promise<ExchangeAnswer> => {
        const { fate } = this
        await this.#scheduler.schedule(Promise.resolve())
        if (fate === 'lost') throw new Error('lost')
        const answer = structuredClone(this.#ledger.exchange(structuredClone(exchange)))
        for (const charge of exchange.charges)
          if (charge.countedBy === 'node') this.told.set(charge.id, tokensOfCharge(charge))
        await this.#scheduler.schedule(Promise.resolve())
        if (fate === 'answer lost') throw new Error('answer lost')
        if (!isolate.alive) await new Promise(() => {})
        return answer
      },
    }
  }
}
