import type { Exchange, ExchangeAnswer } from '../../edge/budgets/exchange.ts'
import { Ledger } from '../../edge/budgets/ledger.ts'
import type { Limits } from '../../edge/budgets/limits.ts'
import { AccountReservation } from '../../edge/budgets/reservation.ts'
import { TenantAccount } from '../../edge/budgets/tenant-account.ts'
import { KeyId, newRequestId, settlementId, TenantId } from '../../shared/ids.ts'
import type { Settlement } from '../../shared/settlement.ts'
import { memorySql } from '../fakes/memory-sql.ts'

export const key = KeyId.parse('key_000000000000')
/** A node that has nothing to tell. */
export const collect = async () => ({ settlements: [], running: [] })

/** An isolate's account of a tenant with such limits, the ledger it leases from, and requests that run on it. */
export function accountWith(limits: Limits, { at = '2026-11-24T12:00:00Z' } = {}) {
  const clock = { now: Date.parse(at) }
  const sql = memorySql()
  const ledger = new Ledger(sql, () => clock.now)
  ledger.setLimits(limits)
  const owner = {
    calls: 0,
    fails: false,
    losesAnswers: false,
    async exchange(exchange: Exchange): Promise<ExchangeAnswer> {
      owner.calls += 1
      if (owner.fails) throw new Error('down')
      const answer = ledger.exchange(exchange)
      if (owner.losesAnswers) throw new Error('lost')
      return answer
    },
  }
  const account = new TenantAccount({
    holder: crypto.randomUUID(),
    timeoutMs: 60_000,
    now: () => clock.now,
    newId: () => crypto.randomUUID(),
  })
  /** A request of a prompt of 10 tokens; it runs until it is ended. */
  const begin = async (maxTokens = 10) => {
    const bound = { model: 'tone', prompts: [10], promptRows: 0, n: 1, maxTokens }
    const reserved = account.isLimited(limits)
      ? await account.admit(10 + maxTokens, owner)
      : account.admitFreely()
    const requestId = newRequestId()
    const reservation = new AccountReservation({ account, reserved, bound, key, requestId, at: clock.now })
    const settlement = settlementId({ requestId, choice: 0, attempt: 0 })
    const told = { outcome: 'stop', firstTokenMs: 1 }
    const used = (completionTokens: number) => ({ promptTokens: 10, completionTokens })
    return {
      fail: () => reservation.close('node_error'),
      refuse: (code: string) => reservation.close(code),
      end(completionTokens: number) {
        const usage = used(completionTokens)
        reservation.settle(0, { ...told, settlement, node: 'node', usage, countedBy: 'node' })
        reservation.close('stop')
      },
      /** The settlement that its node sends of its own accord. */
      settledBy: (completionTokens: number): Settlement => ({
        ...told,
        id: settlement,
        requestId,
        tenant: TenantId.parse('acme'),
        terms: reservation.terms(0),
        usage: used(completionTokens),
        endedAt: clock.now,
      }),
    }
  }
  /** One request that uses 15 of the 20 tokens it may use. */
  const request = async () => {
    const { end } = await begin()
    if (account.wantsRenewal) await account.renew(owner)
    end(5)
  }
  return { account, begin, clock, ledger, owner, request, sql }
}
