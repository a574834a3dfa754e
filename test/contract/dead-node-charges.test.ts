import { describe, expect, test, vi } from 'vitest'
import { Budgets } from '../../edge/budgets/budgets.ts'
import { type Limits, noLimits } from '../../edge/budgets/limits.ts'
import { AccountReservation } from '../../edge/budgets/reservation.ts'
import { newRequestId, settlementId, TenantId } from '../../shared/ids.ts'
import type { Settlement } from '../../shared/settlement.ts'
import { accountWith, key } from './isolate-account.ts'

test('the usage of a request is told though its node died and no other request comes; the node’s word still counts', async () => {
  vi.useFakeTimers({ now: Date.UTC(2026, 10, 24, 12) })
  try {
    const { ledger, owner } = accountWith({ ...noLimits, tokensPerDay: 1_000 })
    const budgets = new Budgets({ timeoutMs: 60_000, gatherMs: 5_000, failed: () => {} })
    const collectFromDead = () => Promise.reject(new Error('unreachable'))
    const access = { owner, collect: collectFromDead, background: () => {} }
    const tenant = TenantId.parse('acme')
    const requestId = newRequestId()
    const id = settlementId({ requestId, choice: 0, attempt: 0 })
    const limits = { ...noLimits, tokensPerDay: 1_000 }
    const bound = { model: 'tone', prompts: [10], promptRows: 0, n: 1, maxTokens: 10 }
    const reservation = await budgets.admit({ tenant, key, requestId, bound, limits }, access)
    await vi.advanceTimersByTimeAsync(8_000)
    const seen = { promptTokens: 10, completionTokens: 3 }
    const use = { settlement: id, node: 'node', usage: seen, outcome: 'node_error', firstTokenMs: 1 }
    reservation.settle(0, { ...use, countedBy: 'edge' })
    reservation.close('node_error')
    budgets.keep(tenant, access)
    await vi.advanceTimersByTimeAsync(20_000)
    expect(ledger.spent('2026-11')).toBe(13)
    expect(budgets.acknowledgements(tenant, { node: 'node', most: 10 })).toEqual([])
    const { settlement: _, node: __, ...told } = use
    const nothing = { promptTokens: 10, completionTokens: 0 }
    const lost = settlementId({ requestId, choice: 0, attempt: 1 })
    const usage = { promptTokens: 10, completionTokens: 5 }
    const written = reservation.terms(0)
    const settlement = { ...told, requestId, tenant, terms: written, endedAt: Date.now() }
    ledger.settle([{ ...settlement, id: lost, usage: nothing }])
    expect(ledger.spent('2026-11')).toBe(13)
    ledger.settle([{ ...settlement, id, usage }])
    expect(ledger.spent('2026-11')).toBe(15)
  } finally {
    vi.useRealTimers()
  }
})

test('the isolate’s count for a node that died is charged though another node told before of an attempt that lost', async () => {
  const { account, ledger, owner, clock } = accountWith(noLimits)
  const requestId = newRequestId()
  const bound = { model: 'tone', prompts: [10], promptRows: 0, n: 1, maxTokens: 10 }
  const reserved = account.admitFreely()
  const reservation = new AccountReservation({ account, reserved, bound, key, requestId, at: clock.now })
  const told = { requestId, tenant: TenantId.parse('acme'), terms: reservation.terms(0), firstTokenMs: null }
  const id = (attempt: number) => settlementId({ requestId, choice: 0, attempt })
  const nothing = { promptTokens: 10, completionTokens: 0 }
  ledger.settle([
    { ...told, id: id(1), usage: nothing, outcome: 'client_closed_request', endedAt: clock.now },
  ])
  expect(ledger.spent('2026-11')).toBe(0)
  const usage = { promptTokens: 10, completionTokens: 1 }
  const use = { settlement: id(0), node: 'dead', usage, outcome: 'node_error', firstTokenMs: 1 }
  reservation.settle(0, { ...use, countedBy: 'edge' })
  reservation.close('node_error')
  await account.flush({ owner, collect: () => Promise.reject(new Error('unreachable')), isLast: true })
  expect(ledger.spent('2026-11')).toBe(11)
})

describe('a node that dies', () => {
  const unreachable = () => Promise.reject(new Error('unreachable'))
  const day = '2026-11-24'

  /** A stream of at most 300 tokens whose node is killed after 7 of them. */
  const killed = async (limits: Limits) => {
    const world = accountWith(limits)
    const { account, clock, owner } = world
    const bound = { model: 'tone', prompts: [10], promptRows: 0, n: 1, maxTokens: 300 }
    const reserved = await account.admit(310, owner)
    const requestId = newRequestId()
    const reservation = new AccountReservation({ account, reserved, bound, key, requestId, at: clock.now })
    const settlement = settlementId({ requestId, choice: 0, attempt: 0 })
    const told = { outcome: 'node_error', firstTokenMs: 1 }
    const usage = { promptTokens: 10, completionTokens: 7 }
    reservation.settle(0, { ...told, settlement, node: 'dead', usage, countedBy: 'edge' })
    reservation.close('node_error')
    const late = (completionTokens: number): Settlement => ({
      ...told,
      id: settlement,
      requestId,
      tenant: TenantId.parse('acme'),
      terms: reservation.terms(0),
      usage: { promptTokens: 10, completionTokens },
      endedAt: clock.now,
    })
    return { ...world, late }
  }

  test('frees what its request left unspent with the first round of telling', async () => {
    const { account, ledger, owner } = await killed({ ...noLimits, tokensPerDay: 1_000 })
    account.release()
    await account.flush({ owner, collect: unreachable })
    expect(ledger.held.tokens).toBe(0)
    expect(ledger.spent(day)).toBe(17)
  })

  test('and comes back with a higher count corrects it, but never beyond the limit', async () => {
    const { account, begin, ledger, late, owner } = await killed({ ...noLimits, tokensPerDay: 400 })
    account.release()
    await account.flush({ owner, collect: unreachable })
    await begin(360)
    ledger.settle([late(20)])
    expect([ledger.spent(day), ledger.held.tokens]).toEqual([30, 370])
    ledger.settle([late(300)])
    expect([ledger.spent(day), ledger.held.tokens]).toEqual([30, 370])
  })

  test('and is asked again tells its own count in the end', async () => {
    const { account, ledger, late, owner } = await killed({ ...noLimits, tokensPerDay: 1_000 })
    account.release()
    await account.flush({ owner, collect: unreachable })
    await account.flush({ owner, collect: async () => ({ settlements: [late(20)], running: [] }) })
    expect([ledger.spent(day), ledger.held.tokens]).toEqual([30, 0])
  })
})
