import { setTimeout as sleep } from 'node:timers/promises'
import type { Exchange } from '../edge/budgets/exchange.ts'
import { Ledger } from '../edge/budgets/ledger.ts'
import { noLimits } from '../edge/budgets/limits.ts'
import { BudgetRefusal } from '../edge/budgets/refusal.ts'
import { AccountReservation } from '../edge/budgets/reservation.ts'
import { TenantAccount } from '../edge/budgets/tenant-account.ts'
import { KeyId, newRequestId, settlementId } from '../shared/ids.ts'
import { memorySql } from '../test/fakes/memory-sql.ts'
import { type Figure, report } from './report.ts'

const holders = 8
const requests = 1_000
const affordable = 400
const promptTokens = 500
const maxTokens = 64
const each = promptTokens + maxTokens
const key = KeyId.parse('key_000000000000')
const networkMs = 8

/** A call's time on the network, each way. */
const travel = () => sleep(Math.random() * networkMs)

/**
 * Independent lease holders against one ledger (the code of the Durable Object, over SQLite in memory) with a budget
 * for some of the requests: `atOnce`, all requests in the same moment; else each holder sends its own one by one.
 */
async function spend(
  atOnce: boolean,
): Promise<{ admitted: number; refused: number; spent: number; calls: number; leases: number }> {
  const ledger = new Ledger(memorySql())
  ledger.setLimits({ ...noLimits, tokensPerDay: affordable * each })
  let calls = 0
  /** The leases that were granted something. */
  const leases = new Set<string>()
  const owner = {
    async exchange(exchange: Exchange) {
      await travel()
      calls += 1
      const answer = ledger.exchange(exchange)
      if (answer.outcome.kind === 'granted') leases.add(answer.outcome.grant.lease)
      await travel()
      return answer
    },
  }
  const accounts = Array.from(
    { length: holders },
    () =>
      new TenantAccount({
        holder: crypto.randomUUID(),
        timeoutMs: 60_000,
        now: Date.now,
        newId: () => crypto.randomUUID(),
      }),
  )
  let admitted = 0
  let refused = 0
  const request = async (account: TenantAccount) => {
    try {
      const reserved = await account.admit(each, owner)
      admitted += 1
      const requestId = newRequestId()
      const bound = { model: 'tone', prompts: [promptTokens], promptRows: 0, n: 1, maxTokens }
      const reservation = new AccountReservation({ account, reserved, bound, key, requestId, at: Date.now() })
      const background = account.wantsRenewal ? account.renew(owner) : undefined
      await sleep(Math.random() * 20)
      reservation.settle(0, {
        settlement: settlementId({ requestId, choice: 0, attempt: 0 }),
        node: 'node',
        usage: { promptTokens, completionTokens: maxTokens },
        countedBy: 'node',
        outcome: 'length',
        firstTokenMs: 1,
      })
      reservation.close('length')
      await background
    } catch (thrown) {
      if (!(thrown instanceof BudgetRefusal)) throw thrown
      refused += 1
    }
  }
  const share = requests / holders
  await Promise.all(
    accounts.map(async (account) => {
      if (atOnce) return void (await Promise.all(Array.from({ length: share }, () => request(account))))
      for (let i = 0; i < share; i++) await request(account)
    }),
  )
  const collect = async () => ({ settlements: [], running: [] })
  await Promise.all(accounts.map((account) => account.flush({ owner, collect })))
  const spent = ledger.spent(new Date().toISOString().slice(0, 10))
  return { admitted, refused, spent, calls, leases: leases.size }
}

async function figures(name: string, atOnce: boolean): Promise<Figure[]> {
  const { admitted, calls, leases, refused, spent } = await spend(atOnce)
  return [
    {
      name: `${name}: requests' worth spent`,
      value: spent / each,
      unit: 'requests',
      bound: { kind: 'at least', value: affordable },
    },
    {
      name: `${name}: over the budget`,
      value: Math.max(0, spent - affordable * each),
      unit: 'tokens',
      bound: { kind: 'at most', value: 0 },
    },
    { name: `${name}: admitted`, value: admitted, unit: 'requests' },
    { name: `${name}: refused`, value: refused, unit: 'requests' },
    { name: `${name}: leases used`, value: leases, unit: 'leases' },
    { name: `${name}: calls to the budget's owner`, value: calls, unit: 'calls' },
  ]
}

/** Prints what lease holders spend of a budget for fewer requests than there are. */
export async function benchBudget(): Promise<boolean> {
  return report(`budget: ${requests} requests over ${holders} lease holders, a budget for ${affordable}`, [
    ...(await figures('all at once', true)),
    ...(await figures('one by one', false)),
  ])
}
